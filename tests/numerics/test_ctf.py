import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.constants import c, e, h, m_e
from scipy.spatial.transform import Rotation

from napari_blush.errors import SettingsError
from napari_blush.numerics.ctf import CtfEvaluator, CtfOptics, electron_wavelength_angstrom
from napari_blush.numerics.half_plane import HalfPlaneCoordinates, half_plane_coordinates
from napari_blush.numerics.packing import packed_coordinates

ORACLES = Path(__file__).parents[1] / "oracles"
RELION: dict[str, Any] = json.loads((ORACLES / "relion_ctf.json").read_text())
TORCH_CTF: dict[str, Any] = json.loads((ORACLES / "torch_ctf.json").read_text())
CPU = torch.device("cpu")
IDENTITY = ((1.0, 0.0), (0.0, 1.0))


def numbers_in(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.strip("[]").split(",")) if text else ()


def optics_of(star: dict[str, Any]) -> CtfOptics:
    matrix = tuple(
        tuple(float(star.get(f"rlnMagMat{i}{j}", IDENTITY[i][j])) for j in (0, 1)) for i in (0, 1)
    )
    return CtfOptics(
        voltage_kv=float(star["rlnVoltage"]),
        spherical_aberration_mm=float(star["rlnSphericalAberration"]),
        amplitude_contrast=float(star["rlnAmplitudeContrast"]),
        pixel_size=float(star["rlnImagePixelSize"]),
        box_size=star["rlnImageSize"],
        beam_tilt_mrad=(float(star.get("rlnBeamTiltX", 0)), float(star.get("rlnBeamTiltY", 0))),
        odd_zernike=numbers_in(star.get("rlnOddZernike", "")),
        even_zernike=numbers_in(star.get("rlnEvenZernike", "")),
        magnification_matrix=matrix,
    )


def points_of(
    case: dict[str, Any], box_size: int = 64
) -> tuple[HalfPlaneCoordinates, torch.Tensor]:
    values = torch.tensor(case["values"], dtype=torch.float64)
    index = values[:, :2].long()
    return HalfPlaneCoordinates(box_size, index[:, 0], index[:, 1]), values[:, 2:]


def evaluate(
    evaluator: CtfEvaluator,
    *,
    u: float = 1e4,
    v: float = 1e4,
    angle: float = 0.0,
    phase_shift: float = 0.0,
    b_factor: float = 0.0,
    scale: float = 1.0,
) -> torch.Tensor:
    defocus = torch.tensor([[u, v, angle]], dtype=torch.float64)
    rest = (torch.tensor([value], dtype=torch.float64) for value in (phase_shift, b_factor, scale))
    return evaluator.ctf(defocus, *rest, evaluator.n_coefficients)[0]


def ice_optics(**changed: Any) -> CtfOptics:
    usual: dict[str, Any] = {
        "voltage_kv": 300.0, "spherical_aberration_mm": 2.7, "amplitude_contrast": 0.1,
        "pixel_size": 1.5, "box_size": 64,
    }  # fmt: skip
    return CtfOptics(**usual | changed)


def plain_ctf(
    optics: CtfOptics, kx: np.ndarray, ky: np.ndarray, u: float, v: float, angle: float
) -> np.ndarray:
    """The definition, in polar form and float64."""
    step = 1 / (optics.box_size * optics.pixel_size)
    radius, azimuth = np.hypot(kx, ky) * step, np.arctan2(ky, kx)
    wavelength = electron_wavelength_angstrom(optics.voltage_kv)
    defocus = (u + v) / 2 + (u - v) / 2 * np.cos(2 * (azimuth - np.deg2rad(angle)))
    chi = np.pi * wavelength * radius**2 * defocus
    chi -= np.pi / 2 * optics.spherical_aberration_mm * 1e7 * wavelength**3 * radius**4
    return np.sin(chi + np.arcsin(optics.amplitude_contrast))


@pytest.mark.parametrize("arithmetic", ["double", "split"])
@pytest.mark.parametrize("name", RELION["ctf"])
def test_agrees_with_relion(name: str, arithmetic: Any) -> None:
    case = RELION["ctf"][name]
    row = case["particle"]
    coordinates, expected = points_of(case)
    found = evaluate(
        CtfEvaluator(optics_of(case["optics"]), coordinates, arithmetic),
        u=row["rlnDefocusU"],
        v=row["rlnDefocusV"],
        angle=row["rlnDefocusAngle"],
        phase_shift=row.get("rlnPhaseShift", 0.0),
        b_factor=row.get("rlnCtfBfactor", 0.0),
        scale=row.get("rlnCtfScalefactor", 1.0),
    )
    torch.testing.assert_close(found.double(), expected[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RELION["undo"])
def test_undoes_antisymmetric_aberrations_as_relion_does(name: str) -> None:
    case = RELION["undo"][name]
    coordinates, expected = points_of(case)
    found = CtfEvaluator(optics_of(case["optics"]), coordinates).antisymmetric_phase(len(expected))
    assert found is not None
    assert found.dtype == torch.complex64
    torch.testing.assert_close(torch.view_as_real(found).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RELION["slices"])
def test_slices_are_stretched_as_relion_does(name: str) -> None:
    case = RELION["slices"][name]
    row = case["particle"]
    angles = [row["rlnAngleRot"], row["rlnAngleTilt"], row["rlnAnglePsi"]]
    rotation = torch.from_numpy(Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix())
    turned = CtfEvaluator(optics_of(case["optics"]), packed_coordinates(64, 31)).magnify(rotation)
    # Where RELION put coefficients of the image, and what they are there.
    volume = {tuple(row[:3]): complex(*row[3:]) for row in case["values"]}
    positions = torch.tensor(list(volume), dtype=torch.float64)
    k = positions @ torch.linalg.inv(turned).mT
    torch.testing.assert_close(k[:, 2], torch.zeros(len(k)).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(k, k.round(), rtol=0, atol=1e-9)
    angle = -2 * math.pi / 64 * k[:, :2] @ torch.tensor(case["pixel_xy"]).double()
    found = torch.polar(torch.ones_like(angle), angle)
    expected = torch.tensor(list(volume.values()), dtype=torch.complex128)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [key for key in TORCH_CTF if key != "provenance"])
def test_agrees_with_torch_ctf(name: str) -> None:
    case = TORCH_CTF[name]
    coordinates, expected = points_of(case, case["box_size"])
    optics = CtfOptics(
        case["voltage"], case["cs"], case["q0"], case["pixel_size"], case["box_size"]
    )
    found = evaluate(
        CtfEvaluator(optics, coordinates),
        u=case["u"],
        v=case["v"],
        angle=case["angle"],
        phase_shift=case["phase_shift"],
    )
    # The whole difference is torch-ctf's wavelength, 6e-6 shorter, on phases up to 200 rad.
    torch.testing.assert_close(found.double(), expected[:, 0], rtol=0, atol=1.5e-3)


@pytest.mark.parametrize("voltage_kv", [60.0, 100.0, 200.0, 300.0])
def test_wavelength_is_that_of_the_constants_of_nature(voltage_kv: float) -> None:
    energy = e * 1e3 * voltage_kv
    momentum = math.sqrt(2 * m_e * energy + (energy / c) ** 2)
    assert electron_wavelength_angstrom(voltage_kv) == pytest.approx(1e10 * h / momentum, rel=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    u=st.floats(-5e4, 5e4),
    v=st.floats(-5e4, 5e4),
    angle=st.floats(-360, 360),
    q0=st.floats(0, 1),
    cs=st.floats(0, 4),
    voltage=st.floats(80, 400),
)
def test_float32_agrees_with_the_plain_definition(
    u: float, v: float, angle: float, q0: float, cs: float, voltage: float
) -> None:
    optics = ice_optics(
        amplitude_contrast=q0, spherical_aberration_mm=cs, voltage_kv=voltage, pixel_size=0.7
    )
    coordinates = packed_coordinates(64, 31)
    kx, ky = coordinates.kx.numpy(), coordinates.ky.numpy()
    expected = torch.from_numpy(plain_ctf(optics, kx, ky, u, v, angle))
    double = evaluate(CtfEvaluator(optics, coordinates, "double"), u=u, v=v, angle=angle)
    split = evaluate(CtfEvaluator(optics, coordinates, "split"), u=u, v=v, angle=angle)
    torch.testing.assert_close(double.double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(split.double(), expected, rtol=0, atol=1e-5)
    assert double.abs().max() <= 1.0 + 1e-6


@given(st.floats(0, 1), st.floats(0, 180))
def test_value_at_the_origin(q0: float, phase_shift: float) -> None:
    origin = HalfPlaneCoordinates(64, torch.zeros(1).long(), torch.zeros(1).long())
    evaluator = CtfEvaluator(ice_optics(amplitude_contrast=q0), origin)
    assert float(evaluate(evaluator)) == pytest.approx(q0, abs=1e-6)
    shifted = math.sin(math.radians(phase_shift) + math.asin(q0))
    assert float(evaluate(evaluator, phase_shift=phase_shift)) == pytest.approx(shifted, abs=1e-6)


def test_zeros_in_closed_form() -> None:
    # Without Cs and amplitude contrast the zeros lie at |k| = sqrt(j / (lambda defocus)).
    defocus = 12345.0
    box_size, wavelength = 1024, electron_wavelength_angstrom(300.0)
    kx = torch.arange(1, 512)
    optics = ice_optics(
        spherical_aberration_mm=0.0, amplitude_contrast=0.0, pixel_size=1.0, box_size=box_size
    )
    line = HalfPlaneCoordinates(box_size, kx, torch.zeros_like(kx))
    values = evaluate(CtfEvaluator(optics, line), u=defocus, v=defocus)
    before = torch.nonzero(values[1:] * values[:-1] < 0).flatten() + 1
    turns = wavelength * defocus * (511 / box_size) ** 2
    expected = box_size * torch.sqrt(torch.arange(1, int(turns) + 1) / (wavelength * defocus))
    assert torch.equal(before, expected.floor().long())


def test_swapping_u_and_v_with_a_quarter_turn_changes_nothing() -> None:
    evaluator = CtfEvaluator(ice_optics(), packed_coordinates(64, 31))
    one = evaluate(evaluator, u=15000.0, v=11000.0, angle=20.0)
    other = evaluate(evaluator, u=11000.0, v=15000.0, angle=110.0)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert (one - evaluate(evaluator, u=11000.0, v=15000.0, angle=20.0)).abs().max() > 1


def test_astigmatism_angle_turns_from_x_towards_y() -> None:
    axes = HalfPlaneCoordinates(64, torch.tensor([20, 0, 14]), torch.tensor([0, 20, 14]))
    evaluator = CtfEvaluator(ice_optics(), axes)
    only_u, only_v = (evaluate(evaluator, u=value, v=value) for value in (15000.0, 11000.0))
    along_x = evaluate(evaluator, u=15000.0, v=11000.0, angle=0.0)
    assert float(along_x[0]) == pytest.approx(float(only_u[0]), abs=1e-5)
    assert float(along_x[1]) == pytest.approx(float(only_v[1]), abs=1e-5)
    diagonal = evaluate(evaluator, u=15000.0, v=11000.0, angle=45.0)
    assert float(diagonal[2]) == pytest.approx(float(only_u[2]), abs=1e-5)


def test_depends_on_frequency_not_on_pixels() -> None:
    coarse = packed_coordinates(64, 31)
    fine = HalfPlaneCoordinates(128, coarse.kx, coarse.ky)
    one = evaluate(CtfEvaluator(ice_optics(pixel_size=2.0), coarse), u=2e4, v=1.8e4, angle=33.0)
    other = evaluate(
        CtfEvaluator(ice_optics(pixel_size=1.0, box_size=128), fine), u=2e4, v=1.8e4, angle=33.0
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_envelope_and_scale_multiply() -> None:
    coordinates = packed_coordinates(64, 31)
    evaluator = CtfEvaluator(ice_optics(), coordinates)
    u2 = (coordinates.kx**2 + coordinates.ky**2) / (64 * 1.5) ** 2
    expected = evaluate(evaluator) * 0.8 * torch.exp(-25.0 * u2)
    torch.testing.assert_close(
        evaluate(evaluator, b_factor=100.0, scale=0.8), expected, rtol=1e-5, atol=1e-6
    )


def test_many_images_are_each_their_own(generator: torch.Generator) -> None:
    # More values than fit in one block of the evaluation.
    coordinates = packed_coordinates(128, 63)
    evaluator = CtfEvaluator(ice_optics(box_size=128), coordinates)
    uniform = torch.rand(30, 6, generator=generator, dtype=torch.float64)
    defocus = uniform[:, :3] * torch.tensor([1e4, 1e4, 180.0]) + torch.tensor([5e3, 5e3, 0.0])
    phase_shift, b_factor, scale = 90 * uniform[:, 3], 100 * uniform[:, 4], uniform[:, 5]
    count = coordinates.count(60)
    together = evaluator.ctf(defocus, phase_shift, b_factor, scale, count)
    assert together.shape == (30, count)
    assert together.dtype == torch.float32
    for i in (0, 11, 29):
        alone = evaluate(
            evaluator,
            u=float(defocus[i, 0]),
            v=float(defocus[i, 1]),
            angle=float(defocus[i, 2]),
            phase_shift=float(phase_shift[i]),
            b_factor=float(b_factor[i]),
            scale=float(scale[i]),
        )
        torch.testing.assert_close(together[i], alone[:count], rtol=0, atol=1e-6)


def test_no_image_and_no_coefficient() -> None:
    evaluator = CtfEvaluator(ice_optics(), packed_coordinates(64, 31))
    none = torch.zeros(0, dtype=torch.float64)
    assert evaluator.ctf(none.reshape(0, 3), none, none, none, 10).shape == (0, 10)
    one = torch.ones(1, dtype=torch.float64)
    assert evaluator.ctf(torch.ones(1, 3).double(), one, one, one, 0).shape == (1, 0)


def test_antisymmetric_phase_is_a_pure_phase_and_odd() -> None:
    kx, ky = torch.tensor([5, -5, 0]), torch.tensor([7, -7, 0])
    optics = ice_optics(beam_tilt_mrad=(0.4, -1.3), odd_zernike=(3.0, 0.0, 200.0))
    factor = CtfEvaluator(optics, HalfPlaneCoordinates(64, kx, ky)).antisymmetric_phase(3)
    assert factor is not None
    torch.testing.assert_close(factor.abs(), torch.ones(3))
    torch.testing.assert_close(factor[1], factor[0].conj())
    assert abs(float(factor[0].angle())) > 0.1
    assert complex(factor[2]) == 1.0


def test_nothing_to_undo_is_none() -> None:
    evaluator = CtfEvaluator(ice_optics(), packed_coordinates(64, 31))
    assert evaluator.antisymmetric_phase(10) is None
    assert evaluator.slice_matrix is None
    rotations = torch.eye(3).expand(4, 3, 3)
    assert evaluator.magnify(rotations) is rotations


def test_magnify_keeps_type_and_batch() -> None:
    matrix = ((1.02, 0.01), (-0.02, 0.97))
    evaluator = CtfEvaluator(ice_optics(magnification_matrix=matrix), packed_coordinates(64, 31))
    assert evaluator.slice_matrix is not None
    assert torch.equal(evaluator.slice_matrix, torch.tensor(matrix, dtype=torch.float64))
    rotations = torch.from_numpy(Rotation.random(6, random_state=1).as_matrix()).float()
    turned = evaluator.magnify(rotations.reshape(2, 3, 3, 3))
    assert turned.dtype == torch.float32
    k = torch.tensor([3.0, -8.0])
    expected = rotations[4] @ torch.tensor([1.02 * 3 - 0.08, -0.06 - 0.97 * 8, 0.0])
    torch.testing.assert_close(turned[1, 1, :, :2] @ k, expected)


def test_half_plane_lists_the_transform_in_memory_order() -> None:
    coordinates = half_plane_coordinates(6, CPU)
    ky, kx = np.meshgrid(np.fft.fftfreq(6, 1 / 6), np.fft.rfftfreq(6, 1 / 6), indexing="ij")
    ky[3] = 3  # NumPy calls the Nyquist row -n/2
    assert np.array_equal(coordinates.kx.numpy(), kx.ravel())
    assert np.array_equal(coordinates.ky.numpy(), ky.ravel())


@pytest.mark.parametrize(
    "changed",
    [
        {"amplitude_contrast": 1.1},
        {"amplitude_contrast": -0.1},
        {"voltage_kv": 0.0},
        {"pixel_size": -1.0},
        {"box_size": 0},
        {"magnification_matrix": ((1.0, 1.0), (1.0, 1.0))},
    ],
)
def test_impossible_optics_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="wanted"):
        ice_optics(**changed)


def test_wrong_box_and_too_many_coefficients_are_refused() -> None:
    coordinates = packed_coordinates(64, 20)
    with pytest.raises(SettingsError, match="64 px and the optics group has 128 px"):
        CtfEvaluator(ice_optics(box_size=128), coordinates)
    evaluator = CtfEvaluator(ice_optics(), coordinates)
    too_many = len(coordinates) + 1
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(SettingsError, match=f"{too_many} coefficients"):
        evaluator.ctf(torch.ones(1, 3).double(), one, one, one, too_many)
    with pytest.raises(SettingsError, match=f"{too_many} coefficients"):
        evaluator.antisymmetric_phase(too_many)


@pytest.mark.cuda
@pytest.mark.parametrize("arithmetic", ["double", "split"])
def test_cuda_agrees_with_cpu(arithmetic: Any) -> None:
    optics = ice_optics(odd_zernike=(3.0, 1.0), even_zernike=(0.2, 10.0))
    parts = [
        evaluate(
            CtfEvaluator(optics, packed_coordinates(64, 31, device), arithmetic),
            u=3e4, v=2.9e4, angle=40.0, b_factor=20.0,
        ).cpu()
        for device in ("cpu", "cuda")
    ]  # fmt: skip
    torch.testing.assert_close(parts[1], parts[0], rtol=0, atol=1e-5)
