"""Write torch_ctf.json with torch-ctf 0.6.0: ``python generate_torch_ctf.py``, where installed.

torch-ctf takes mean defocus and half the astigmatism in micrometer, and needs U >= V.
"""

import json
from pathlib import Path

import torch
from torch_ctf import calculate_ctf_2d

BOX = 64
CASES = {
    "plain": {
        "voltage": 300.0,
        "cs": 2.7,
        "q0": 0.1,
        "pixel_size": 1.5,
        "u": 12000.0,
        "v": 12000.0,
        "angle": 0.0,
        "phase_shift": 0.0,
    },
    "astigmatic": {
        "voltage": 200.0,
        "cs": 1.4,
        "q0": 0.07,
        "pixel_size": 1.7,
        "u": 14000.0,
        "v": 11000.0,
        "angle": 35.0,
        "phase_shift": 0.0,
    },
    "phase_plate": {
        "voltage": 300.0,
        "cs": 0.01,
        "q0": 0.1,
        "pixel_size": 1.2,
        "u": 7000.0,
        "v": 6500.0,
        "angle": -60.0,
        "phase_shift": 90.0,
    },
}


def main() -> None:
    """Evaluate all cases and write the file beside this one."""
    generator = torch.Generator().manual_seed(1)
    result = {
        "provenance": {
            "program": "torch-ctf 0.6.0",
            "command": "python generate_torch_ctf.py",
            "columns": "kx, ky, value",
        }
    }
    for name, case in CASES.items():
        image = calculate_ctf_2d(
            defocus=(case["u"] + case["v"]) / 2e4,
            astigmatism=(case["u"] - case["v"]) / 2e4,
            astigmatism_angle=case["angle"],
            voltage=case["voltage"],
            spherical_aberration=case["cs"],
            amplitude_contrast=case["q0"],
            phase_shift=case["phase_shift"],
            pixel_size=case["pixel_size"],
            image_shape=(BOX, BOX),
            rfft=True,
            fftshift=False,
        )
        kx = torch.randint(1, 22, (60,), generator=generator)
        ky = torch.randint(-21, 22, (60,), generator=generator)
        values = [round(value, 6) for value in image[ky, kx].tolist()]
        rows = [list(row) for row in zip(kx.tolist(), ky.tolist(), values, strict=True)]
        result[name] = case | {"box_size": BOX, "values": rows}
    text = json.dumps(result, indent=1).replace(",\n    ", ", ").replace("[\n    ", "[")
    Path(__file__).with_name("torch_ctf.json").write_text(text.replace("\n   ]", "]") + "\n")


if __name__ == "__main__":
    main()
