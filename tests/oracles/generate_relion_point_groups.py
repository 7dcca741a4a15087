"""Write relion_point_groups.json with RELION itself (``relion_refine`` on PATH)."""

import json
import re
import subprocess
from pathlib import Path

SYMBOLS = ("C3", "D2", "D7", "T", "O", "I", "I1", "I2", "I3", "I4")
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


def operators(symbol: str) -> list[list[float]]:
    """Return what RELION prints of each operator: matrix row by row, then its Euler angles."""
    command = ["relion_refine", "--sym", symbol, "--print_symmetry_ops"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    blocks = re.split(r"R\(\d+\)=", printed)[1:]
    return [
        # The identity is printed without its angles.
        ([float(number) for number in re.findall(NUMBER, block)] + [0.0] * 3)[:12]
        for block in blocks
    ]


def main() -> None:
    version = subprocess.run(["relion_refine", "--version"], capture_output=True, text=True)
    document = {
        "provenance": {
            "program": version.stdout.split("\n")[0].strip(),
            "command": "relion_refine --sym I2 --print_symmetry_ops (and so on)",
            "columns": "nine matrix elements row by row; rot, tilt, psi of that matrix",
        },
        "operators": {symbol: operators(symbol) for symbol in SYMBOLS},
    }
    text = json.dumps(document, indent=1)
    text = re.sub(r"\[\s+([^\[\]]*?)\s+\]", lambda m: "[" + re.sub(r",\s+", ", ", m[1]) + "]", text)
    Path(__file__).with_name("relion_point_groups.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
