"""Write relion_ctf.json with RELION itself: ``python generate_relion_ctf.py`` (RELION on PATH).

A single bright voxel at the centre of a map has a constant transform, so that what
``relion_project --ctf`` makes of it is the CTF. ``relion_reconstruct --external_reconstruct``
leaves the sum of the images as it corrected them, which shows what it multiplied an image by to
undo antisymmetric aberrations; a magnification matrix of integers moves coefficients to
coefficients, so that nothing is interpolated.
"""

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt

N_POINTS = 60
OPTICS = {
    "rlnVoltage": 300.0,
    "rlnSphericalAberration": 2.7,
    "rlnAmplitudeContrast": 0.1,
    "rlnImagePixelSize": 1.5,
    "rlnImageSize": 64,
}
PARTICLE = {
    "rlnAngleRot": 0.0,
    "rlnAngleTilt": 0.0,
    "rlnAnglePsi": 0.0,
    "rlnOriginXAngst": 0.0,
    "rlnOriginYAngst": 0.0,
    "rlnDefocusU": 10000.0,
    "rlnDefocusV": 10000.0,
    "rlnDefocusAngle": 0.0,
}
SHEAR = {"rlnMagMat00": 1, "rlnMagMat01": 1, "rlnMagMat10": 0, "rlnMagMat11": 1}
STRETCH = {"rlnMagMat00": 1.05, "rlnMagMat01": 0.02, "rlnMagMat10": 0.01, "rlnMagMat11": 0.97}
EVEN = "[0.3,200,-300,500,4000,-7000,9000,-5000,3000,9e4,-8e4,7e4,-6e4,5e4,-4e4,3e4]"
ODD = "[4,-7,150,200,-170,90,9000,-7000,5000,-4000,6000,8000]"
CTF_CASES = {
    "plain": ({}, {}),
    "astigmatic": ({}, {"rlnDefocusU": 15000, "rlnDefocusV": 12000, "rlnDefocusAngle": 25}),
    "v_above_u": (
        {"rlnVoltage": 200, "rlnSphericalAberration": 1.4},
        {"rlnDefocusU": 9000, "rlnDefocusV": 14000, "rlnDefocusAngle": -70},
    ),
    "overfocus": ({}, {"rlnDefocusU": -8000, "rlnDefocusV": -9000, "rlnDefocusAngle": 10}),
    "phase_plate": ({"rlnSphericalAberration": 0.01}, {"rlnPhaseShift": 81.5}),
    "envelope_and_scale": ({}, {"rlnCtfBfactor": 60, "rlnCtfScalefactor": 0.7}),
    "far_from_focus": (
        {"rlnImagePixelSize": 0.75},
        {"rlnDefocusU": 41000, "rlnDefocusV": 39500, "rlnDefocusAngle": 140},
    ),
    "pure_phase": ({"rlnAmplitudeContrast": 0, "rlnSphericalAberration": 0}, {}),
    "pure_amplitude": ({"rlnAmplitudeContrast": 1}, {}),
    "even_zernike": ({"rlnEvenZernike": EVEN}, {}),
    "stretched": (
        STRETCH | {"rlnEvenZernike": EVEN},
        {"rlnDefocusU": 12000, "rlnDefocusV": 9000, "rlnDefocusAngle": 25, "rlnCtfBfactor": 30},
    ),
}
UNDO_CASES = {
    "beam_tilt": {"rlnBeamTiltX": 1.6, "rlnBeamTiltY": -0.9},
    "odd_zernike": {"rlnOddZernike": ODD},
    "tilted_sheared": {"rlnOddZernike": ODD, "rlnBeamTiltX": 1.6, "rlnBeamTiltY": -0.9} | SHEAR,
}
TURNED = {"rlnAngleRot": 90, "rlnAngleTilt": 90, "rlnAnglePsi": 180}
SLICE_CASES = {"sheared": (SHEAR, {}), "sheared_and_turned": (SHEAR, TURNED)}
CTF_OF_ONE = {"rlnAmplitudeContrast": 1, "rlnSphericalAberration": 0}
IN_FOCUS = {"rlnDefocusU": 0, "rlnDefocusV": 0}
PIXEL_XY = (5, -3)


def star_block(name: str, row: dict[str, object]) -> str:
    """Return a STAR loop of one row."""
    labels = "".join(f"_{label}\n" for label in row)
    return f"\ndata_{name}\n\nloop_\n{labels}{' '.join(str(value) for value in row.values())}\n"


def relion(
    program: str, optics: dict[str, object], particle: dict[str, object], *more: str
) -> None:
    """Write ``x.star`` and run a program of RELION on it, in the working directory."""
    group = {"rlnOpticsGroupName": "g", "rlnOpticsGroup": 1, "rlnImageDimensionality": 2}
    row = {"rlnImageName": "1@image.mrcs", "rlnMicrographName": "m", "rlnOpticsGroup": 1}
    text = "# version 30001\n" + star_block("optics", group | OPTICS | optics)
    text += "\n# version 30001\n" + star_block("particles", row | PARTICLE | particle)
    Path("x.star").write_text(text)
    subprocess.run([program, *more], check=False, capture_output=True)


def write_mrc(volume: npt.NDArray[np.float64], pixel_size: float, name: str) -> None:
    """Write an array as MRC."""
    with mrcfile.new(name, overwrite=True) as file:
        file.set_data(volume.astype(np.float32))
        file.voxel_size = pixel_size


def projected(optics: dict[str, object], particle: dict[str, object]) -> npt.NDArray[np.complex128]:
    """Return the transform of the projection of a bright central voxel, times the CTF."""
    volume = np.zeros((64, 64, 64))
    volume[32, 32, 32] = 1000.0
    write_mrc(volume, float((OPTICS | optics)["rlnImagePixelSize"]), "map.mrc")
    more = ["--i", "map.mrc", "--ang", "x.star", "--o", "out", "--ctf"]
    relion("relion_project", optics, particle, *more)
    return np.fft.fft2(np.fft.ifftshift(np.squeeze(mrcfile.read("out.mrcs")))) / 1000.0


def accumulated(
    optics: dict[str, object], particle: dict[str, object], pixel: tuple[int, int] = (0, 0)
) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.float64]]:
    """Return numerator and weight [z, y, x] of one image of a bright pixel (x, y) off centre."""
    image = np.zeros((1, 64, 64))
    image[0, 32 + pixel[1], 32 + pixel[0]] = 64.0**2
    write_mrc(image, 1.5, "image.mrcs")
    more = ["--i", "x.star", "--o", "rec.mrc", "--ctf", "--pad", "1", "--external_reconstruct"]
    relion("relion_reconstruct", optics, particle, *more)
    part = [
        mrcfile.read(f"rec_external_reconstruct_{name}.mrc").astype(float)
        for name in ("data_real", "data_imag", "weight")
    ]
    return part[0] + 1j * part[1], part[2]


def points(radius: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw coefficients (kx, ky) with kx > 0 inside a radius."""
    ky, kx = np.meshgrid(np.arange(-radius, radius + 1), np.arange(1, radius + 1), indexing="ij")
    inside = np.stack([kx, ky], -1)[kx**2 + ky**2 < radius**2]
    return generator.permutation(inside)[:N_POINTS]


def rows(
    at: npt.NDArray[np.int64], values: npt.NDArray[np.complex128], real: bool
) -> list[list[float]]:
    """Return ``[*k, real]`` or ``[*k, real, imaginary]`` lists."""
    numbers = [values.real] if real else [values.real, values.imag]
    rounded = (np.round(part.astype(np.float64), 6).tolist() for part in numbers)
    columns = [*at.T.tolist(), *rounded]
    return [list(row) for row in zip(*columns, strict=True)]


def main() -> None:
    """Run all cases and write the file beside this one."""
    generator = np.random.default_rng(1)
    ctf, undo, slices = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, (optics, particle) in CTF_CASES.items():
            values = projected(optics, particle)
            at = points(28, generator)
            ctf[name] = {
                "optics": OPTICS | optics,
                "particle": PARTICLE | particle,
                "values": rows(at, values[at[:, 1], at[:, 0]], True),
            }
        for name, optics in UNDO_CASES.items():
            matrix = {label: value for label, value in optics.items() if "MagMat" in label}
            (data, _), (plain, weight) = accumulated(optics, {}), accumulated(matrix, {})
            at = points(20 if matrix else 28, generator)
            # With the shear, (kx, ky) is inserted at (kx + ky, ky), or its mate is.
            x = at[:, 0] + at[:, 1] if matrix else at[:, 0]
            seen = (x > 0) & (weight[0, at[:, 1], np.abs(x)] > 0.05)
            at, x = at[seen], x[seen]
            factor = data[0, at[:, 1], x] / plain[0, at[:, 1], x]
            undo[name] = {"optics": OPTICS | optics, "values": rows(at, factor, False)}
        for name, (optics, particle) in SLICE_CASES.items():
            optics = optics | CTF_OF_ONE
            data, weight = accumulated(optics, particle | IN_FOCUS, PIXEL_XY)
            z, y, x = np.nonzero(weight[:, :, 1:28] > 0.5)
            chosen = generator.permutation(len(x))[:N_POINTS]
            at = np.stack([x + 1, np.fft.fftfreq(64, 1 / 64)[y], np.fft.fftfreq(64, 1 / 64)[z]], 1)
            slices[name] = {
                "optics": OPTICS | optics,
                "particle": PARTICLE | particle | IN_FOCUS,
                "pixel_xy": PIXEL_XY,
                "values": rows(at[chosen].astype(int), data[z, y, x + 1][chosen], False),
            }
    provenance = {
        "program": "relion_project and relion_reconstruct 3.1.3 (Debian 3.1.3-3+b1)",
        "command": "python generate_relion_ctf.py",
        "columns": "kx, ky (and kz for slices), real, imaginary (but for ctf)",
    }
    result = {"provenance": provenance, "ctf": ctf, "undo": undo, "slices": slices}
    lines = json.dumps(result, indent=1).replace(",\n     ", ", ").replace("[\n     ", "[")
    Path(__file__).with_name("relion_ctf.json").write_text(lines.replace("\n    ]", "]") + "\n")


if __name__ == "__main__":
    main()
