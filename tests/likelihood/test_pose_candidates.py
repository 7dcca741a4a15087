"""Candidate lists: padding, packing and descent, against plain Python lists."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.likelihood.pose_candidates import (
    PoseCandidates,
    candidates_from_mask,
    pad_lists,
    refine_candidates,
)
from napari_blush.numerics.orientation_grid import OrientationGrid, asymmetric_pixels
from napari_blush.numerics.point_group import symmetry_operators

lists = st.lists(st.lists(st.integers(0, 1000), max_size=6), min_size=1, max_size=5)


def candidates(lists_of_orientations: list[list[int]], offsets: list[list[int]]) -> PoseCandidates:
    """Return candidates with a log prior of minus a thousandth of each orientation."""
    width = max(1, *map(len, lists_of_orientations))
    depth = max(1, *map(len, offsets))
    b = len(lists_of_orientations)
    orientation = torch.zeros(b, width, dtype=torch.int64)
    log_prior = torch.full((b, width), -torch.inf)
    offset = torch.zeros(b, depth, dtype=torch.int64)
    valid = torch.zeros(b, depth, dtype=torch.bool)
    for row, own in enumerate(lists_of_orientations):
        orientation[row, : len(own)] = torch.tensor(own, dtype=torch.int64)
        log_prior[row, : len(own)] = -torch.tensor(own, dtype=torch.float32) / 1000
    for row, own in enumerate(offsets):
        offset[row, : len(own)] = torch.tensor(own, dtype=torch.int64)
        valid[row, : len(own)] = True
    return PoseCandidates(orientation, log_prior, offset, valid)


def as_lists(found: PoseCandidates) -> tuple[list[list[int]], list[list[int]]]:
    """Return the real orientations and offsets of each image."""
    real = torch.isfinite(found.log_prior)
    rows = range(len(real))
    return (
        [found.orientation[row][real[row]].tolist() for row in rows],
        [found.offset[row][found.offset_valid[row]].tolist() for row in rows],
    )


@given(values=lists)
def test_padding_a_flat_list_gives_rows(values: list[list[int]]) -> None:
    owner = torch.tensor([i for i, own in enumerate(values) for _ in own], dtype=torch.int64)
    flat = torch.tensor([value for own in values for value in own], dtype=torch.int64)
    rows = pad_lists(owner, flat, len(values), -7)
    assert rows.shape == (len(values), max(1, *map(len, values)))
    for row, own in zip(rows.tolist(), values, strict=True):
        assert row == own + [-7] * (rows.shape[1] - len(own))


@given(b=st.integers(1, 4), o=st.integers(1, 9), t=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_masks_keep_what_they_say_in_order(b: int, o: int, t: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    orientation = torch.randint(500, (b, o), generator=generator)
    log_prior = torch.randn(b, o, generator=generator)
    offset = torch.randint(20, (b, t), generator=generator)
    kept = torch.rand(b, o, generator=generator) < 0.6
    offset_kept = torch.rand(b, t, generator=generator) < 0.6
    kept[:, 0] = offset_kept[:, 0] = True
    found = candidates_from_mask(orientation, log_prior, kept, offset, offset_kept)
    orientations, offsets = as_lists(found)
    for row in range(b):
        assert orientations[row] == orientation[row][kept[row]].tolist()
        assert offsets[row] == offset[row][offset_kept[row]].tolist()
        n = len(orientations[row])
        assert torch.equal(found.log_prior[row, :n], log_prior[row][kept[row]])
    assert torch.equal(found.counts, kept.sum(1))
    assert found.orientation.shape[1] == int(kept.sum(1).max())


def test_rows_are_chosen_and_trimmed() -> None:
    whole = candidates([[4, 8, 15], [16], [23, 42]], [[0, 1], [2], [3]])
    part = whole.rows(torch.tensor([2, 1]))
    assert as_lists(part) == ([[23, 42], [16]], [[3], [2]])
    assert part.orientation.shape == (2, 2)
    assert part.offset.shape == (2, 1)
    assert part.counts.tolist() == [2, 1]


@settings(deadline=None, max_examples=25)
@given(values=st.lists(st.lists(st.integers(0, 71), min_size=1, max_size=4), min_size=1))
def test_descent_replaces_each_orientation_by_its_children(values: list[list[int]]) -> None:
    coarse, fine = OrientationGrid(0), OrientationGrid(1)
    unique = [sorted(set(own)) for own in values]
    found = refine_candidates(candidates(unique, [[1]] * len(unique)), coarse, None)
    orientations, offsets = as_lists(found)
    assert offsets == [[1]] * len(unique)
    everything = torch.arange(fine.size)
    parent = fine.parent(everything)
    for row, own in enumerate(unique):
        wanted = [int(i) for i in everything if int(parent[i]) in own]
        assert sorted(orientations[row]) == wanted
        inherited = -fine.parent(found.orientation[row, : len(wanted)]).float() / 1000
        torch.testing.assert_close(found.log_prior[row, : len(wanted)], inherited)


def test_children_outside_the_asymmetric_unit_are_dropped() -> None:
    grid = OrientationGrid(0)
    operators = symmetry_operators("D2")
    kept = asymmetric_pixels(0, operators, descend=1)
    own = [int(pixel) * grid.n_psi + 2 for pixel in kept]
    finer_pixels = asymmetric_pixels(1, operators)
    allowed = torch.zeros(48, dtype=torch.bool)
    allowed[finer_pixels] = True
    found = refine_candidates(candidates([own, own[:1]], [[0], [0]]), grid, allowed)
    finer = OrientationGrid(1)
    orientations, _ = as_lists(found)
    wanted = set(finer_pixels.tolist())
    assert {int(finer.pixel_of(torch.tensor(i))) for i in orientations[0]} == wanted
    assert len(orientations[0]) == 2 * len(wanted)
    assert 0 < len(orientations[1]) <= 8
    assert {int(finer.pixel_of(torch.tensor(i))) // 4 for i in orientations[1]} == {int(kept[0])}
