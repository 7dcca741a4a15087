"""Filaments: halves that share none, views from the side, what the screw brings a refinement."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.healpix import n_pixels, pixel_directions
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.rotations import euler_to_matrix
from napari_blush.refine.events import IterationFinished, Message, RunFinished
from napari_blush.refine.helical import halves_by_micrograph, helix_of, near_equator
from napari_blush.refine.run import run
from napari_blush.refine.schedule import Geometry
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure
from napari_blush.simulation.images import simulate_particles

BOX, VOXEL, N = 32, 4.0, 80
TWIST, RISE = 50.0, 10.0


def filament() -> torch.Tensor:
    """Two blobs off the axis for each unit, along the whole box and beyond."""
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((BOX, BOX, BOX))
    for number in range(-12, 13):
        for radius, turn, up, size in ((7.0, 0.0, 0.0, 1.2), (3.5, 80.0, 1.0, 0.9)):
            angle = np.radians(TWIST * number + turn)
            at = (radius * np.cos(angle), radius * np.sin(angle), RISE * number / VOXEL + up)
            squares = (x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2
            volume += np.exp(-squares / 2 / size**2)
    return torch.from_numpy(volume).float()


@pytest.fixture(scope="module")
def segments():
    """Noisy images of a filament that lies in the ice, of ten micrographs."""
    generator = torch.Generator().manual_seed(4)
    angles = 360 * torch.rand(N, 3, generator=generator, dtype=torch.float64)
    angles[:, 1] = 90 + 3 * torch.randn(N, generator=generator, dtype=torch.float64)
    poses = Poses(euler_to_matrix(angles), torch.zeros(N, 2, dtype=torch.float64))
    group = OpticsGroup("one", 300.0, 2.7, 0.1, VOXEL, BOX)
    plan = DefocusPlan(particles_per_micrograph=8)
    exposure = draw_exposure(N, (group,), plan, generator)
    clean = simulate_particles(filament(), poses, exposure, spectrum=None)
    signal = clean.images.read(torch.arange(N))
    noise = 2.5 * signal.std() * torch.randn(N, BOX, BOX, generator=generator)

    class Noisy:
        shape = (N, BOX, BOX)

        def __len__(self) -> int:
            return N

        def read(self, index: torch.Tensor) -> torch.Tensor:
            return ((signal + noise) / noise.std())[index]

    return replace(clean, images=Noisy(), poses=Poses.identity(N), has_poses=False)


def settings(**changes) -> RefinementSettings:
    values = {
        "helical_twist": TWIST,
        "helical_rise": RISE,
        "helical_fraction": 0.4,
        "regularizer": "smoothness",
        "healpix_order": 1,
        "exhaustive_order": 1,
        "initial_low_pass": 25.0,
        "particle_diameter": 120.0,
        "offset_range": 2.0,
        "max_iterations": 2,
        "automatic_mask": False,
        "threads": 1,
        "device": "cpu",
    }
    return RefinementSettings(**{**values, **changes})


def refined(segments, wanted: RefinementSettings):
    """The result, the references of the first iteration, and what was said."""
    start = (low_pass(filament(), VOXEL, 25.0), VOXEL)
    first, said = None, []
    for event in run(wanted, segments, start):
        if isinstance(event, IterationFinished) and first is None:
            first = event.result.references
        if isinstance(event, Message):
            said.append(event.text)
        if isinstance(event, RunFinished):
            return event.result, first, said
    raise AssertionError("no end")


@pytest.fixture(scope="module")
def helical(segments):
    return refined(segments, settings())


def truth_fsc(result) -> float:
    """Mean FSC with the truth in the middle of the box, up to 10 A."""
    middle = soft_sphere(BOX, 9.0, 3.0)
    fsc = fourier_shell_correlation(result.final_map * middle, filament() * middle)
    return float(fsc[1:13].mean())


@pytest.mark.slow
def test_the_screw_brings_more_of_the_truth(segments, helical) -> None:
    alone = refined(segments, settings(helical_twist=None, helical_rise=None))[0]
    wrong = refined(segments, settings(helical_twist=-TWIST))[0]
    assert truth_fsc(helical[0]) > truth_fsc(alone) + 0.05
    assert truth_fsc(helical[0]) > truth_fsc(wrong) + 0.1


def test_maps_have_the_symmetry_and_references_go_on_to_the_ends(helical) -> None:
    result, references, _ = helical
    helix = helix_of(settings(), Geometry(BOX, VOXEL, 120.0))
    step = helix.turn(1).numpy()
    axis = np.arange(BOX) - BOX // 2
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")[::-1], -1).reshape(-1, 3)
    near = places[(np.hypot(places[:, 0], places[:, 1]) < 10) & (np.abs(places[:, 2]) < 3)]
    moved = near @ step.T + np.array([0, 0, RISE / VOXEL])

    def at(volume: torch.Tensor, where: np.ndarray) -> np.ndarray:
        from scipy.ndimage import map_coordinates  # noqa: PLC0415

        return map_coordinates(volume.double().numpy(), where[:, ::-1].T + BOX // 2, order=3)

    for volume in (result.half_maps.half1, result.final_map, references[0]):
        assert np.corrcoef(at(volume, near), at(volume, moved))[0, 1] > 0.9
    # 40 A from the middle, beyond what is averaged, within the sphere of references.
    far = near @ np.linalg.matrix_power(step, 4).T + np.array([0, 0, 4 * RISE / VOXEL])
    assert np.corrcoef(at(references[0], near), at(references[0], far))[0, 1] > 0.9


def test_halves_share_no_micrograph(segments) -> None:
    subset, warning = halves_by_micrograph(segments, 0)
    assert warning is None
    for group in segments.group_index.unique():
        assert len(subset[segments.group_index == group].unique()) == 1
    sizes = torch.bincount(subset)[1:]
    assert int((sizes[0] - sizes[1]).abs()) <= 8
    again, _ = halves_by_micrograph(segments, 0)
    assert torch.equal(subset, again)
    lone = replace(segments, group_index=torch.zeros(N, dtype=torch.int64), group_names=("a",))
    subset, warning = halves_by_micrograph(lone, 0)
    assert "one micrograph" in warning.text
    assert torch.bincount(subset).tolist() == [0, N // 2, N // 2]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_filaments_are_seen_from_the_side(order: int) -> None:
    kept = near_equator(order, 15.0)
    assert 0 < int(kept.sum()) < n_pixels(order) // 2
    tilt = torch.rad2deg(torch.arccos(pixel_directions(order)[:, 2]))
    assert torch.equal(kept, (tilt - 90).abs() <= 15.0 + 1e-6)
    assert bool(near_equator(order, 90.0).all())
    finer = near_equator(order, 1.0, descend=2)
    assert torch.equal(finer, near_equator(order + 2, 1.0).reshape(-1, 16).any(dim=1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"helical_twist": None}, "rise was given without a twist"),
        ({"helical_rise": None}, "twist was given without a rise"),
        ({"symmetry": "O"}, "wanted C1, Cn or Dn"),
        ({"helical_rise": 60.0}, "wanted at least twice the rise"),
    ],
)
def test_what_is_no_helix_is_refused(changes, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        helix_of(settings(**changes), Geometry(BOX, VOXEL, 120.0))
    assert helix_of(RefinementSettings(), Geometry(BOX, VOXEL, 120.0)) is None
