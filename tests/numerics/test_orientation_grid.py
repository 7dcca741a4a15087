import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.errors import SettingsError
from napari_blush.numerics.healpix import (
    n_pixels,
    pixel_angles,
    pixel_directions,
    pixel_frames,
)
from napari_blush.numerics.orientation_grid import (
    OrientationGrid,
    asymmetric_pixels,
    change_pixel_order,
    neighbors_within,
    offset_children,
    offset_grid,
    perturbation_rotation,
)
from napari_blush.numerics.point_group import in_asymmetric_unit, symmetry_operators
from napari_blush.numerics.rotations import (
    axis_angle_to_matrix,
    euler_to_matrix,
    geodesic_distance_deg,
    random_rotations,
)

SYMBOLS = ["C1", "C2", "C3", "C4", "D2", "D4", "D7", "T", "O", "I1", "I2", "I3", "I4"]


@cache
def _whole_grid(order: int) -> torch.Tensor:
    grid = OrientationGrid(order)
    return grid.rotations(torch.arange(grid.size)).to(torch.float64)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("order", range(6))
def test_sizes(order: int) -> None:
    grid = OrientationGrid(order)
    assert grid.step_deg == 60 / 2**order
    assert grid.n_psi == 6 * 2**order
    assert grid.size == grid.n_pixels * grid.n_psi == 72 * 8**order


def test_rotations_are_the_pixel_turned_in_plane() -> None:
    grid = OrientationGrid(1)
    rotations = _whole_grid(1).reshape(grid.n_pixels, grid.n_psi, 3, 3)
    directions = pixel_directions(1)[:, None].expand(-1, grid.n_psi, -1)
    torch.testing.assert_close(rotations[..., 2], directions, atol=1e-7, rtol=0)
    # Each in-plane neighbour is one step about the viewing direction further.
    step = axis_angle_to_matrix(torch.tensor([0.0, 0, 1]), torch.tensor(grid.step_deg))
    expected = rotations @ step
    torch.testing.assert_close(rotations.roll(-1, dims=1), expected, atol=3e-7, rtol=0)


def test_rotations_are_accurate_to_float32(generator: torch.Generator) -> None:
    grid = OrientationGrid(9)
    index = torch.randint(grid.size, (500,), generator=generator)
    rotations = grid.rotations(index)
    assert rotations.dtype == torch.float32
    exact = rotations.to(torch.float64)
    eye = torch.eye(3, dtype=torch.float64).expand_as(exact)
    torch.testing.assert_close(exact @ exact.mT, eye, atol=2e-7, rtol=0)
    # The in-plane angle at order 9 is 0.117 degrees: no digits of it may get lost on the way.
    following = torch.where(index % grid.n_psi == grid.n_psi - 1, index, index + 1)
    moved = geodesic_distance_deg(rotations, grid.rotations(following))[following != index]
    torch.testing.assert_close(moved, torch.full_like(moved, grid.step_deg), atol=2e-5, rtol=0)


@pytest.mark.parametrize("order", range(3))
def test_children_of_all_are_the_finer_grid_exactly_once(order: int) -> None:
    grid, finer = OrientationGrid(order), OrientationGrid(order + 1)
    children = grid.children(torch.arange(grid.size))
    assert children.shape == (grid.size, 8)
    assert torch.equal(children.reshape(-1).sort().values, torch.arange(finer.size))
    assert torch.equal(finer.parent(children), torch.arange(grid.size)[:, None].expand(-1, 8))
    assert torch.equal(finer.pixel_of(children) // 4, grid.pixel_of(children // 8))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 8), st.integers(0, 2**31))
def test_children_lie_around_their_parent(order: int, seed: int) -> None:
    grid, finer = OrientationGrid(order), OrientationGrid(order + 1)
    index = torch.randint(grid.size, (50,), generator=_seeded(seed))
    # The poles are where Euler angles would tear children from their parents.
    caps = torch.tensor([4**order - 1, 9 * 4**order])
    index = torch.cat([index, caps * grid.n_psi])
    children = finer.rotations(grid.children(index).reshape(-1)).reshape(-1, 8, 3, 3)
    away = geodesic_distance_deg(grid.rotations(index)[:, None], children)
    assert away.max() < 0.58 * grid.step_deg
    assert away.min() > 0.35 * grid.step_deg
    # They surround it: turns from the parent cancel, up to the curvature of large cells.
    between = grid.rotations(index)[:, None].mT.to(torch.float64) @ children.to(torch.float64)
    mean = torch.linalg.svd(between.mean(dim=1))
    center = mean.U @ mean.Vh
    eye = torch.eye(3, dtype=torch.float64)
    assert geodesic_distance_deg(center, eye).max() < 0.12 * grid.step_deg


def test_children_of_any_shape() -> None:
    grid = OrientationGrid(2)
    index = torch.arange(24).reshape(2, 3, 4)
    children = grid.children(index)
    assert children.shape == (2, 3, 4, 8)
    assert torch.equal(children[1, 2, 3], grid.children(index[1, 2, 3]))
    assert OrientationGrid(3).parent(children).shape == (2, 3, 4, 8)
    assert grid.pixel_of(index).shape == (2, 3, 4)


def test_the_coarsest_grid_has_no_parents() -> None:
    with pytest.raises(SettingsError, match="no parents"):
        OrientationGrid(0).parent(torch.tensor([0]))
    with pytest.raises(SettingsError, match="order 13"):
        OrientationGrid(13)


@pytest.mark.parametrize("order", [1, 2])
def test_every_rotation_is_near_the_grid_and_cells_are_equal(order: int) -> None:
    grid, n = OrientationGrid(order), 4000
    rotations = random_rotations(n, _seeded(order))
    trace = rotations.reshape(n, 9) @ _whole_grid(order).reshape(-1, 9).T
    closest = torch.rad2deg(torch.acos(((trace.amax(dim=1) - 1) / 2).clamp(-1, 1)))
    assert closest.max() < 0.96 * grid.step_deg
    # Uniform rotations choose uniform pixels: in eight groups of cells, each gets its share.
    groups = grid.pixel_of(trace.argmax(dim=1)) * 8 // grid.n_pixels
    counts = torch.bincount(groups, minlength=8).to(torch.float64)
    chi2 = float(((counts - n / 8) ** 2 / (n / 8)).sum())
    assert chi2 < 40


@settings(deadline=None, max_examples=20)
@given(st.floats(-0.5, 0.5), st.integers(0, 5))
def test_perturbation_moves_every_orientation_alike(fraction: float, order: int) -> None:
    grid = OrientationGrid(order)
    perturbation = perturbation_rotation(fraction, order)
    expected = euler_to_matrix(
        torch.tensor([1.0, 1, 1], dtype=torch.float64) * fraction * grid.step_deg
    )
    torch.testing.assert_close(perturbation, expected)
    index = torch.randint(grid.size, (40,), generator=_seeded(7))
    moved = grid.rotations(index, perturbation)
    exact = grid.rotations(index).to(torch.float64) @ perturbation
    torch.testing.assert_close(moved.to(torch.float64), exact, atol=2e-7, rtol=0)
    turn = geodesic_distance_deg(torch.eye(3, dtype=torch.float64), perturbation)
    distance = geodesic_distance_deg(grid.rotations(index), moved)
    torch.testing.assert_close(distance, turn.expand(40), atol=3e-5, rtol=0)


def _brute_neighbors(
    rotations: torch.Tensor, order: int, perturbation: torch.Tensor | None
) -> torch.Tensor:
    whole = _whole_grid(order)
    if perturbation is not None:
        whole = whole @ perturbation
    return torch.stack([geodesic_distance_deg(rotation, whole) for rotation in rotations])


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2),
    st.one_of(st.floats(0, 180), st.sampled_from([0.0, 12.0, 90.0, 180.0, 200.0])),
    st.one_of(st.none(), st.floats(-0.5, 0.5)),
    st.integers(0, 2**31),
)
def test_neighbors_are_those_of_the_whole_grid(
    order: int, limit: float, fraction: float | None, seed: int
) -> None:
    rotations = random_rotations(3, _seeded(seed))
    perturbation = None if fraction is None else perturbation_rotation(fraction, order)
    distance = _brute_neighbors(rotations, order, perturbation)
    owner, index, angle = neighbors_within(OrientationGrid(order), rotations, limit, perturbation)
    found = torch.zeros_like(distance, dtype=torch.bool)
    found[owner, index] = True
    assert len(owner) == found.sum()  # each once
    assert (owner.diff() >= 0).all()
    # The grid's matrices are float32: a distance may be off by 1e-5 degrees.
    torch.testing.assert_close(angle, distance[owner, index], atol=1e-4, rtol=0)
    assert found[distance < limit - 1e-4].all()
    assert not found[distance > limit + 1e-4].any()


def test_neighbors_at_order_4_are_those_of_the_whole_grid(generator: torch.Generator) -> None:
    """Finer than where the search starts, so that its descent is held to brute force too."""
    poles = euler_to_matrix(torch.tensor([[10.0, 0.3, 20], [10, 179.9, 20], [45, 90, 0]]))
    rotations = torch.cat([random_rotations(2, generator), poles])
    perturbation = perturbation_rotation(0.31, 4)
    distance = _brute_neighbors(rotations, 4, perturbation)
    owner, index, angle = neighbors_within(OrientationGrid(4), rotations, 12.0, perturbation)
    expected = torch.nonzero(distance <= 12.0)
    order = torch.argsort(owner * OrientationGrid(4).size + index)
    assert torch.equal(torch.stack([owner, index], dim=1)[order], expected)
    torch.testing.assert_close(angle, distance[owner, index], atol=1e-4, rtol=0)


@pytest.mark.parametrize("order", [6, 8, 9])
def test_neighbors_on_fine_grids(order: int, generator: torch.Generator) -> None:
    """Too fine for brute force: the distances are checked, and the number against the volume."""
    grid, n = OrientationGrid(order), 40
    rotations = random_rotations(n, generator).to(torch.float32)
    limit = 5 * grid.step_deg
    owner, index, angle = neighbors_within(grid, rotations, limit)
    assert angle.max() <= limit
    distance = geodesic_distance_deg(rotations[owner], grid.rotations(index))
    torch.testing.assert_close(distance, angle, atol=3e-5, rtol=0)
    assert len(torch.unique(owner * grid.size + index)) == len(index)
    radians = math.radians(limit)
    expected = grid.size * (radians - math.sin(radians)) / math.pi
    assert len(index) / n == pytest.approx(expected, rel=0.02)


def test_neighbors_contain_the_grid_point_itself(generator: torch.Generator) -> None:
    grid = OrientationGrid(7)
    index = torch.randint(grid.size, (30,), generator=generator)
    perturbation = perturbation_rotation(-0.2, 7)
    owner, found, angle = neighbors_within(
        grid, grid.rotations(index, perturbation), 1e-3, perturbation
    )
    assert torch.equal(found, index)
    assert torch.equal(owner, torch.arange(30))
    assert angle.max() < 2e-5


def test_every_orientation_is_within_180_degrees_once() -> None:
    """Of grid orientations themselves and of those that look the opposite way, too."""
    grid = OrientationGrid(1)
    frames = pixel_frames(torch.arange(grid.n_pixels), 1)
    half_turn = torch.diag(torch.tensor([1.0, -1, -1], dtype=torch.float64))
    steps = (torch.arange(grid.n_psi, dtype=torch.float64) + 0.5) * grid.step_deg
    turns = euler_to_matrix(torch.nn.functional.pad(steps[:, None], (2, 0)))
    on_grid = (frames[:8, None] @ turns).reshape(-1, 3, 3)
    rotations = torch.cat([frames, frames @ half_turn, on_grid])
    owner, index, angle = neighbors_within(grid, rotations, 180.0)
    assert len(index) == len(rotations) * grid.size
    assert len(torch.unique(owner * grid.size + index)) == len(index)
    assert not angle.isnan().any()


def test_many_rotations_are_taken_in_pieces(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotations = random_rotations(11, generator)
    grid = OrientationGrid(3)
    whole = neighbors_within(grid, rotations, 20.0)
    monkeypatch.setattr("napari_blush.numerics.orientation_grid._PAIRS_AT_ONCE", 4 * 768)
    for expected, pieced in zip(whole, neighbors_within(grid, rotations, 20.0), strict=True):
        torch.testing.assert_close(pieced, expected)


def test_no_rotations_have_no_neighbors() -> None:
    owner, index, angle = neighbors_within(OrientationGrid(3), torch.empty(0, 3, 3), 20.0)
    assert len(owner) == len(index) == len(angle) == 0


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_asymmetric_pixels_are_a_share_of_all(symbol: str) -> None:
    operators = symmetry_operators(symbol)
    for order in (2, 4):
        pixels = asymmetric_pixels(order, operators)
        assert torch.equal(pixels, pixels.unique())
        share = len(pixels) * len(operators) / n_pixels(order)
        # Only C1, C2, C4, D2 and D4 are symmetries of the HEALPix grid itself.
        exact = symbol in {"C1", "C2", "C4", "D2", "D4"}
        rim = 2 * math.sqrt(len(operators) / n_pixels(order))
        assert share == pytest.approx(1, abs=1e-9 if exact else rim)


@pytest.mark.parametrize("symbol", ["C4", "D2", "D4"])
def test_mates_of_kept_pixels_are_all_pixels_once(symbol: str) -> None:
    operators = symmetry_operators(symbol)
    directions = pixel_directions(3)
    kept = directions[asymmetric_pixels(3, operators)]
    mates = torch.einsum("gij,mj->gmi", operators, kept).reshape(-1, 3)
    matched = torch.cdist(mates, directions).argmin(dim=1)
    assert torch.equal(matched.sort().values, torch.arange(len(directions)))


@pytest.mark.parametrize("symbol", ["C3", "D7", "I2"])
@pytest.mark.parametrize("descend", [1, 2])
def test_pixels_are_kept_for_the_sake_of_their_descendants(symbol: str, descend: int) -> None:
    operators = symmetry_operators(symbol)
    coarse = asymmetric_pixels(2, operators, descend=descend)
    fine = asymmetric_pixels(2 + descend, operators)
    assert torch.equal(coarse, torch.unique(fine // 4**descend))
    assert len(coarse) > len(asymmetric_pixels(2, operators))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["C3", "D3", "O", "I2"]), st.integers(0, 2**31), st.floats(-0.5, 0.5))
def test_a_perturbed_search_reaches_one_mate_of_every_rotation(
    symbol: str, seed: int, fraction: float
) -> None:
    """The perturbation acts from the right and symmetry from the left: they do not meet."""
    operators = symmetry_operators(symbol)
    perturbation = perturbation_rotation(fraction, 2)
    rotations = random_rotations(20, _seeded(seed))
    mates = (operators @ rotations[:, None]) @ perturbation.T
    inside = in_asymmetric_unit(mates[..., 2].reshape(-1, 3), operators).reshape(20, -1)
    assert torch.equal(inside.sum(dim=1), torch.ones(20, dtype=torch.int64))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**31))
def test_change_of_pixel_order(from_order: int, to_order: int, seed: int) -> None:
    pdf = torch.rand(2, n_pixels(from_order), generator=_seeded(seed), dtype=torch.float64)
    changed = change_pixel_order(pdf, from_order, to_order)
    assert changed.shape == (2, n_pixels(to_order))
    torch.testing.assert_close(changed.sum(dim=1), pdf.sum(dim=1))
    if to_order >= from_order:
        torch.testing.assert_close(change_pixel_order(changed, to_order, from_order), pdf)
        share = 4 ** (to_order - from_order)
        pixel = torch.arange(n_pixels(to_order))
        torch.testing.assert_close(changed, pdf[:, pixel // share] / share)
    else:
        expected = torch.zeros_like(changed)
        parent = torch.arange(n_pixels(from_order)) // 4 ** (from_order - to_order)
        expected.index_add_(1, parent, pdf)
        torch.testing.assert_close(changed, expected)


def test_change_of_pixel_order_keeps_where_the_mass_is() -> None:
    directions = pixel_directions(4)
    pdf = torch.exp(8 * directions @ torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64))
    coarse = change_pixel_order(pdf, 4, 2)
    means = [p @ d / p.sum() for p, d in ((pdf, directions), (coarse, pixel_directions(2)))]
    torch.testing.assert_close(means[0], means[1], atol=0.01, rtol=0)


def test_distributions_of_another_order_are_refused() -> None:
    with pytest.raises(SettingsError, match="48 directions was given as HEALPix order 2"):
        change_pixel_order(torch.ones(48), 2, 1)


def test_euler_angles_would_tear_families_apart_at_the_poles() -> None:
    """Why in-plane angles are counted from carried frames: the simpler rule fails this bound."""
    order, step = 2, OrientationGrid(2).step_deg
    away = []
    for level in (order, order + 1):
        rot, tilt = pixel_angles(level)
        away.append(euler_to_matrix(torch.stack([rot, tilt, torch.zeros_like(rot)], dim=1)))
    naive = geodesic_distance_deg(away[0].repeat_interleave(4, dim=0), away[1])
    assert naive.max() > 1.4 * step


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 12), st.floats(0.3, 4))
def test_offsets_fill_the_circle(range_px: float, step_px: float) -> None:
    offsets = offset_grid(range_px, step_px)
    assert offsets.dtype == torch.float32
    last = int(range_px / step_px) + 2
    expected = {
        (i, j)
        for i in range(-last, last + 1)
        for j in range(-last, last + 1)
        if math.hypot(i, j) * step_px <= range_px
    }
    nearly = {
        (i, j)
        for i in range(-last, last + 1)
        for j in range(-last, last + 1)
        if math.hypot(i, j) * step_px <= range_px * (1 + 1e-5)
    }
    found = {(round(x / step_px), round(y / step_px)) for x, y in offsets.tolist()}
    assert len(found) == len(offsets)
    assert expected <= found <= nearly
    assert (0, 0) in found


@pytest.mark.parametrize(
    ("range_px", "step_px", "count"),
    [(5.0, 2.0, 21), (0.0, 1.0, 1), (3.0, 1.0, 29), (0.3, 0.1, 29)],
)
def test_number_of_offsets(range_px: float, step_px: float, count: int) -> None:
    """21 is what RELION tries with ``--offset_range 5 --offset_step 2``."""
    assert len(offset_grid(range_px, step_px)) == count


def test_offset_children_tile_the_cells_of_their_parents() -> None:
    step = 1.5
    parents = offset_grid(4.0, step)
    children = offset_children(parents, step)
    assert children.shape == (len(parents), 4, 2)
    torch.testing.assert_close(children.mean(dim=1), parents)
    flat = children.reshape(-1, 2)
    apart = torch.cdist(flat, flat) + 100 * torch.eye(len(flat))
    torch.testing.assert_close(apart.min(dim=1).values, torch.full((len(flat),), step / 2))
    distance = (flat - parents.repeat_interleave(4, dim=0)).abs()
    torch.testing.assert_close(distance, torch.full_like(flat, step / 4))


@pytest.mark.parametrize(("range_px", "step_px"), [(-1.0, 1.0), (3.0, 0.0), (3.0, -2.0)])
def test_impossible_offsets_are_refused(range_px: float, step_px: float) -> None:
    with pytest.raises(SettingsError, match="the step must be positive"):
        offset_grid(range_px, step_px)


@pytest.mark.cuda
def test_results_are_on_the_device_of_the_input(generator: torch.Generator) -> None:
    grid, perturbation = OrientationGrid(5), perturbation_rotation(0.4, 5)
    rotations = random_rotations(20, generator)
    expected = neighbors_within(grid, rotations, 6.0, perturbation)
    found = neighbors_within(grid, rotations.cuda(), 6.0, perturbation.cuda())
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.is_cuda
        torch.testing.assert_close(ours.cpu(), theirs)
    index = expected[1]
    on_device = grid.rotations(index.cuda(), perturbation)
    torch.testing.assert_close(on_device.cpu(), grid.rotations(index, perturbation))
    assert torch.equal(grid.children(index.cuda()).cpu(), grid.children(index))
    operators = symmetry_operators("D3")
    inside = in_asymmetric_unit(on_device[:, :, 2], operators).cpu()
    assert torch.equal(inside, in_asymmetric_unit(on_device[:, :, 2].cpu(), operators))
