import json
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_blush.errors import SettingsError
from napari_blush.numerics.healpix import pixel_directions
from napari_blush.numerics.point_group import (
    canonical_symbol,
    in_asymmetric_unit,
    symmetry_operators,
)

ORACLE = Path(__file__).parents[1] / "oracles" / "relion_point_groups.json"
RELION = json.loads(ORACLE.read_text())["operators"]

ORDERS = {"T": 12, "O": 24, "I1": 60, "I2": 60, "I3": 60, "I4": 60}
folds = st.integers(1, 20)
symbols = st.one_of(
    st.sampled_from(sorted(ORDERS)),
    folds.map(lambda fold: f"C{fold}"),
    folds.map(lambda fold: f"D{fold}"),
)


def _group_order(symbol: str) -> int:
    return ORDERS.get(symbol) or int(symbol[1:]) * (2 if symbol[0] == "D" else 1)


def _apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Largest difference of elements between each of ``a`` and each of ``b``."""
    return (a.reshape(-1, 1, 9) - b.reshape(1, -1, 9)).abs().amax(-1)


def _assert_same_set(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    assert len(a) == len(b)
    match = _apart(a, b) < tolerance
    assert torch.equal(match.sum(0), torch.ones(len(a), dtype=torch.int64))
    assert torch.equal(match.sum(1), torch.ones(len(a), dtype=torch.int64))


@pytest.mark.parametrize("symbol", RELION)
def test_operators_are_relions(symbol: str) -> None:
    printed = torch.tensor(RELION[symbol], dtype=torch.float64)[:, :9].reshape(-1, 3, 3)
    # RELION rounds the axes in its tables to five digits.
    _assert_same_set(symmetry_operators(symbol), printed, 2e-5)


def test_the_icosahedral_settings_differ() -> None:
    settings_ = ["I1", "I2", "I3", "I4"]
    for first in settings_:
        for second in settings_:
            apart = _apart(symmetry_operators(first), symmetry_operators(second)).amin(0).max()
            assert (apart > 0.1) == (first != second)


@pytest.mark.parametrize(
    ("ours", "scipys"),
    [("C1", "C1"), ("C5", "C5"), ("D3", "D3"), ("D4", "D4"), ("O", "O"), ("I1", "I")],
)
def test_operators_are_scipys_where_settings_agree(ours: str, scipys: str) -> None:
    expected = torch.from_numpy(Rotation.create_group(scipys).as_matrix())
    _assert_same_set(symmetry_operators(ours), expected, 1e-12)


@settings(deadline=None, max_examples=25)
@given(symbols)
def test_operators_form_a_group(symbol: str) -> None:
    operators = symmetry_operators(symbol)
    g = len(operators)
    assert g == _group_order(symbol)
    assert operators.dtype == torch.float64
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.equal(operators[0], eye)
    torch.testing.assert_close(operators @ operators.mT, eye.expand(g, 3, 3), atol=1e-13, rtol=0)
    torch.testing.assert_close(torch.linalg.det(operators), torch.ones(g, dtype=torch.float64))
    assert (_apart(operators, operators) < 1e-3).sum() == g
    products = (operators[:, None] @ operators[None]).reshape(-1, 3, 3)
    closest = _apart(products, operators).min(dim=1).values
    assert closest.max() < 1e-12
    assert _apart(operators.mT, operators).min(dim=1).values.max() < 1e-12


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("c1", "C1"),
        (" C07 ", "C7"),
        ("d12", "D12"),
        ("i", "I2"),
        ("I", "I2"),
        ("i3", "I3"),
        ("t", "T"),
        ("O\n", "O"),
    ],
)
def test_symbols_are_made_canonical(text: str, symbol: str) -> None:
    assert canonical_symbol(text) == symbol
    assert canonical_symbol(symbol) == symbol


@pytest.mark.parametrize("text", ["", "C", "C0", "C100", "I5", "TH", "OH", "C3v", "S4", "C-2", "x"])
def test_unknown_symbols_are_refused_with_what_is_known(text: str) -> None:
    with pytest.raises(SettingsError, match="known are C1 to C99, D1 to D99, T, O, I "):
        symmetry_operators(text)


@settings(deadline=None, max_examples=40)
@given(symbols, st.integers(0, 2**31))
def test_every_direction_has_exactly_one_mate_inside(symbol: str, seed: int) -> None:
    operators = symmetry_operators(symbol)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    mates = torch.einsum("gij,mj->mgi", operators, directions)
    inside = in_asymmetric_unit(mates.reshape(-1, 3), operators).reshape(50, -1)
    assert torch.equal(inside.sum(1), torch.ones(50, dtype=torch.int64))


@pytest.mark.parametrize("symbol", ["C2", "C3", "D2", "D3", "T", "O", "I1", "I2", "I3", "I4"])
def test_directions_on_axes_are_never_lost(symbol: str) -> None:
    """Axes lie on boundaries of the unit, where a strict comparison may lose all mates."""
    operators = symmetry_operators(symbol)
    axes = torch.from_numpy(Rotation.from_matrix(operators[1:].numpy()).as_rotvec())
    axes /= axes.norm(dim=1, keepdim=True)
    axes = torch.cat([axes, -axes])
    mates = torch.einsum("gij,mj->mgi", operators, axes)
    inside = in_asymmetric_unit(mates.reshape(-1, 3), operators).reshape(len(axes), -1)
    assert inside.any(dim=1).all()


@pytest.mark.parametrize("symbol", ["C1", "C3", "D7", "T", "O", "I1", "I2", "I3", "I4"])
def test_the_unit_is_a_share_of_the_sphere_in_one_piece(symbol: str) -> None:
    operators = symmetry_operators(symbol)
    directions = pixel_directions(5)
    inside = directions[in_asymmetric_unit(directions, operators)]
    share = len(inside) * len(operators) / len(directions)
    assert share == pytest.approx(1, abs=0.05)
    if len(operators) > 2:
        # A piece narrower than half the sphere that is convex holds the midpoints of its pairs.
        pick = torch.randperm(len(inside), generator=torch.Generator().manual_seed(3))[:60]
        middle = (inside[pick, None] + inside[None, pick]).reshape(-1, 3)
        middle /= middle.norm(dim=1, keepdim=True)
        assert in_asymmetric_unit(middle, operators).all()


@pytest.mark.relion
@pytest.mark.parametrize("symbol", ["C3", "D2", "D3", "T", "O", "I", "I1", "I3", "I4"])
def test_a_map_that_relion_symmetrized_has_its_copies_where_we_say(
    symbol: str, tmp_path: Path
) -> None:
    """A blob away from all axes must come back at every one of its mates, and nowhere else."""
    n, radius = 48, 14.0
    spot = torch.tensor([0.36, 0.18, 0.915], dtype=torch.float64)
    spot *= radius / spot.norm()
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    from_spot = (x - float(spot[0])) ** 2 + (y - float(spot[1])) ** 2 + (z - float(spot[2])) ** 2
    blob = np.exp(-from_spot / 8).astype(np.float32)
    with mrcfile.new(tmp_path / "blob.mrc") as file:
        file.set_data(blob)
    subprocess.run(
        ["relion_image_handler", "--i", "blob.mrc", "--o", "all.mrc", "--sym", symbol],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    with mrcfile.open(tmp_path / "all.mrc") as file:
        symmetrized = file.data.astype(np.float64)
    centres = (symmetry_operators(symbol) @ spot).numpy()
    expected = np.zeros((n, n, n))
    for cx, cy, cz in centres:
        expected += np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / 8)
    assert np.corrcoef(symmetrized.ravel(), expected.ravel())[0, 1] > 0.98
