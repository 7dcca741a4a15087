"""Maps from particles whose poses are known: back-projection, and nothing is searched."""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.particles import Particles
from napari_blush.data_model.tool_settings import ReconstructionSettings
from napari_blush.errors import RefinementError
from napari_blush.likelihood.half_model import HalfModel
from napari_blush.likelihood.prepared_images import ImagePreparation, ImagePreparer, PreparedImages
from napari_blush.likelihood.reconstruction import reconstruct
from napari_blush.numerics.devices import chosen_device
from napari_blush.numerics.packing import packed_coordinates, shift_phases
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.slice_insertion import SliceAccumulator

BATCH = 64  # images read and inserted together


@dataclass(frozen=True, slots=True)
class KnownPoseMaps:
    """``full (n, n, n)`` of all particles; ``halves`` where every particle has its half."""

    full: Tensor
    halves: HalfMaps | None
    voxel_size: float


def reconstruct_known_poses(
    particles: Particles, settings: ReconstructionSettings
) -> Generator[int, None, KnownPoseMaps]:
    """Reconstruct maps from the poses that the particles have; yields how many are done.

    ``sum CTF X / sum CTF^2`` of slices inserted at their poses, symmetrized, without
    regularization. Norm and scale corrections and noise weights are left out.

    Parameters
    ----------
    particles : Particles
        Of one box and pixel size.
    settings : ReconstructionSettings

    Returns
    -------
    KnownPoseMaps
        On the CPU. Memory: the sums of each half, see ``SliceAccumulator``.

    Raises
    ------
    RefinementError
        When there are no poses, or optics groups differ in box or pixel size.
    """
    _check(particles)
    device = chosen_device(settings.device, RefinementError)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    group = particles.optics_groups[0]
    n, voxel = group.box_size, group.pixel_size
    limit = 2 * voxel if settings.max_resolution is None else settings.max_resolution
    r_max = max(1, min(n // 2, int(n * voxel / limit)))
    inserter = _Inserter(particles, settings, r_max, device)
    subset = particles.random_subset
    has_halves = bool((subset == 1).any() and (subset == 2).any() and (subset > 0).all())
    parts = (
        [subset == 1, subset == 2] if has_halves else [torch.ones_like(subset, dtype=torch.bool)]
    )
    sums, done = [], 0
    for part in parts:
        accumulator = SliceAccumulator(n, r_max=r_max, padding=settings.padding, device=device)
        index = torch.nonzero(part).flatten()
        for start in range(0, len(index), BATCH):
            batch = index[start : start + BATCH]
            inserter.insert(accumulator, batch)
            done += len(batch)
            yield done
        sums.append(accumulator)
    full = sums[0].clone()
    for other in sums[1:]:
        full.add(other)
    operators = symmetry_operators(settings.symmetry)
    halves = None
    if has_halves:
        halves = HalfMaps(_solved(sums[0], operators), _solved(sums[1], operators), voxel)
    return KnownPoseMaps(_solved(full, operators), halves, voxel)


class _Inserter:
    """Inserts batches of particles at their own poses."""

    def __init__(
        self,
        particles: Particles,
        settings: ReconstructionSettings,
        r_max: int,
        device: torch.device,
    ) -> None:
        n = particles.optics_groups[0].box_size
        self.particles = particles
        self.settings = settings
        self.coordinates = packed_coordinates(n, n // 2, device)
        self.count = self.coordinates.count(r_max)
        self.preparer = ImagePreparer(
            particles,
            self.coordinates,
            device,
            ImagePreparation(mask_radius_px=n / 2, whiten=False),
        )
        self.model = _neutral_model(particles, n)

    def insert(self, accumulator: SliceAccumulator, index: Tensor) -> None:
        """Add the images ``index (b,)``."""
        shifts = self.particles.poses.shifts_angstrom[index] / self.preparer.pixel_size
        norm = torch.ones(len(index), dtype=torch.float64)
        images = self.preparer.prepare(index, shifts, norm, self.model, self.count)
        rest = shifts.to(images.base_shift_px) - images.base_shift_px
        moved = images.unmasked * shift_phases(rest, self.coordinates, self.count)
        ctf = images.ctf if self.settings.ctf else torch.ones_like(images.ctf)
        rotations = self._slice_rotations(images)
        # Images are transformed in units of 1 / n; so are the slices that maps are read through.
        accumulator.insert(rotations, moved * ctf, ctf**2, self.coordinates)

    def _slice_rotations(self, images: PreparedImages) -> Tensor:
        """Return where slices lie, anisotropic magnification included, ``(b, 3, 3)``."""
        rotations = self.particles.poses.rotations[images.index].float()
        groups = self.particles.optics_group_index[images.index]
        for group in torch.unique(groups).tolist():
            matrix = self.preparer.slice_matrix(group)
            if matrix is not None:
                rotations[groups == group] = rotations[groups == group] @ matrix.float()
        return rotations


def _solved(sums: SliceAccumulator, operators: Tensor) -> Tensor:
    """Return the map of complete sums, on the CPU."""
    sums.enforce_hermitian()
    if len(operators) > 1:
        sums.symmetrize(operators.to(torch.float32))
    return reconstruct(sums, None).cpu()


def _neutral_model(particles: Particles, box_size: int) -> HalfModel:
    """Return a model under which images are neither scaled nor weighted."""
    shells = box_size // 2 + 1
    return HalfModel(
        reference=torch.zeros(1, 1, 1),
        sigma2_noise=torch.ones(len(particles.optics_groups), shells),
        sigma_offset_angstrom=1.0,
        pdf_direction=torch.ones(1),
        pdf_order=0,
        group_scale=torch.ones(len(particles.group_names)),
        average_norm=1.0,
        data_vs_prior=torch.zeros(shells),
        tau2=torch.zeros(shells),
    )


def _check(particles: Particles) -> None:
    if not particles.has_poses:
        raise RefinementError(
            "The particles have no poses; wanted rlnAngleRot, rlnAngleTilt and rlnAnglePsi; give "
            "the particles of a finished refinement."
        )
    sizes = {(group.box_size, group.pixel_size) for group in particles.optics_groups}
    if len(sizes) > 1:
        raise RefinementError(
            f"The optics groups have (box, pixel) sizes {sorted(sizes)}; wanted one for all; "
            "extract the particles alike."
        )
