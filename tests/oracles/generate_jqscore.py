"""Q-scores of a made-up chain by jqscore: writes ``jqscore.json``.

    pip install jqscore
    python tests/oracles/generate_jqscore.py

jqscore is A. Zalevsky's reimplementation of G. Pintilie's MapQ (https://github.com/aozalevsky/jqscore).
"""

import importlib.metadata
import json
from pathlib import Path

import jqscore  # type: ignore[import-not-found]
import numpy as np

BOX, VOXEL, N_ATOMS, RADIUS = 48, 0.35, 60, 5.0


def chain(rng: np.random.Generator) -> np.ndarray:
    """Return atoms a bond of 1.5 A from the next, none nearer to another than 1.4 A."""
    middle = np.full(3, BOX * VOXEL / 2)
    places = [middle]
    while len(places) < N_ATOMS:
        step = rng.normal(size=3)
        new = places[-1] + 1.5 * step / np.linalg.norm(step)
        nearest = min(np.linalg.norm(new - place) for place in places)
        if np.linalg.norm(new - middle) < RADIUS and nearest > 1.4:
            places.append(new)
        elif rng.random() < 0.02:
            places = places[: max(1, len(places) - 10)]
    return np.round(np.array(places), 3)


def density(positions: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the sum of normalized Gaussians, up to a factor."""
    axis = np.arange(BOX) * VOXEL
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    total = np.zeros((BOX, BOX, BOX))
    for (px, py, pz), width in zip(positions, widths, strict=True):
        squared = (x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2
        total += np.exp(-squared / (2 * width**2)) / width**3
    return total.astype(np.float32)


def main() -> None:
    """Score the chain and write what came of it."""
    rng = np.random.default_rng(11)
    positions = chain(rng)
    widths = np.round(rng.permutation(np.linspace(0.5, 1.1, N_ATOMS)), 2)
    scores, _, _ = jqscore.qscores_from_arrays(
        positions,
        np.ones(N_ATOMS, bool),
        np.arange(N_ATOMS) // 4,
        density(positions, widths),
        np.zeros(3),
        np.full(3, VOXEL),
        sigma=0.6,
    )
    content = {
        "program": f"jqscore {importlib.metadata.version('jqscore')}",
        "command": "python tests/oracles/generate_jqscore.py",
        "note": "sigma 0.6; eight points a sphere, trilinear interpolation",
        "box": BOX,
        "voxel_size": VOXEL,
        "positions": positions.tolist(),
        "widths": widths.tolist(),
        "q": np.round(scores, 4).tolist(),
    }
    target = Path(__file__).with_name("jqscore.json")
    target.write_text(json.dumps(content, indent=None, separators=(", ", ": ")) + "\n")


if __name__ == "__main__":
    main()
