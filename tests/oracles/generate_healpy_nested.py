"""Write healpy_nested.json: ``python generate_healpy_nested.py`` (needs healpy, which is GPL).

Every direction of orders 0 and 1, and pixels drawn over finer ones. healpy is asked for numbers
here and is no dependency of the package or of its tests.
"""

import json
import re
from pathlib import Path

import healpy  # type: ignore[import-not-found]
import numpy as np

N_POINTS = 60


def main() -> None:
    draw = np.random.default_rng(1)
    orders = {}
    for order in (0, 1, 2, 3, 5, 8, 12):
        total = 12 * 4**order
        whole = total <= N_POINTS
        pixels = range(total) if whole else sorted(draw.choice(total, N_POINTS, replace=False))
        directions = np.stack(healpy.pix2vec(2**order, np.array(pixels), nest=True), axis=-1)
        orders[order] = [
            [int(pixel), *direction]
            for pixel, direction in zip(pixels, directions.tolist(), strict=True)
        ]
    document = {
        "provenance": {
            "program": f"healpy {healpy.__version__}",
            "command": "python generate_healpy_nested.py",
            "columns": "nested pixel, x, y, z; by order",
        },
        "orders": orders,
    }
    text = json.dumps(document, indent=1)
    text = re.sub(r"\[\s+([^\[\]]*?)\s+\]", lambda m: "[" + re.sub(r",\s+", ", ", m[1]) + "]", text)
    Path(__file__).with_name("healpy_nested.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
