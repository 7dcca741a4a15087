"""Faults planted in real half-maps, and the lights that they turn red.

RELION's half-maps of beta-galactosidase (``betagal_dev``, NAPARI_BLUSH_DATA) with its mask, atomic
model and poses are judged as they are and with one fault each. None of the thresholds was set on
them. Half-maps, mask and model of other runs of that data set can be given instead.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from measuring.datasets import dataset
from measuring.tables import Row, markdown
from torch import Tensor, nn

from napari_blush.cli.report import Report
from napari_blush.cli.validate_angles import posed_table
from napari_blush.cli.validate_denoiser import tested
from napari_blush.cli.validate_files import HalfMapFiles
from napari_blush.conventions import Volume
from napari_blush.data_model.validation_settings import DenoiserCheckSettings
from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.network import BlockPrediction
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.io.atoms import AtomicModel, read_atoms
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.numerics.fft import irfftn_centered, rfftn_centered
from napari_blush.numerics.filters import high_pass, randomize_phases
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import euler_to_matrix
from napari_blush.validation.angular_distribution import angular_distribution
from napari_blush.validation.directional import directional_report
from napari_blush.validation.half_map_checks import half_map_report
from napari_blush.validation.lights import Check
from napari_blush.validation.model_report import model_report
from napari_blush.validation.resolution import resolution_report

SIGNS = ("○", "◐", "●")
Maps = tuple[Volume, Volume]


def main() -> None:
    """Plant one fault after the other and print a row of lights for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--halves", type=Path, nargs=2, help="other half-maps")
    parser.add_argument("--without-model", action="store_true", help="the quick ones only")
    options = parser.parse_args()
    data = dataset("betagal_dev")
    if not data.folder.is_dir():
        print(f"Nothing to measure: there is no folder {data.folder} (NAPARI_BLUSH_DATA).")
        return
    relion = data.folder / "relion313_reference"
    paths = options.halves or [relion / f"half{half}_unfil.mrc" for half in (1, 2)]
    files = [read_map(path) for path in paths]
    halves = (files[0].volume, files[1].volume)
    size, mask = files[0].voxel_size, read_map(data.folder / data.mask).volume
    atoms = read_atoms(data.folder / "8bk7_fitted_in_map_frame.cif.gz")
    model = None if options.without_model else atoms
    rows = [
        of_halves("none", halves, size, mask, model),
        of_halves("noise copied into both halves", shared_noise(halves, size), size, mask, model),
        of_halves("mask that cuts through the particle", halves, size, cutting(mask), None),
        of_halves("mask that hugs the density", halves, size, hugging(halves), None),
        of_halves("swapped hand", mirrored(halves), size, mask, model),
        of_halves("voxel size wrong by 2 %", halves, 1.02 * size, mask, shifted(model, size, mask)),
        of_denoiser("denoiser as it ships", load_denoiser("default"), files, mask),
        of_denoiser("denoiser that paints helices", painter(), files, mask),
        of_directions("directions as they are", halves, size, mask),
        of_directions("missing cone", without_cone(halves), size, mask),
    ]
    poses = data.folder / "particles_reference_poses.star"
    rows += [
        of_views("views as they are", poses, 90.0),
        of_views("views within 25° of one", poses, 25.0),
    ]
    for part in groups(rows):
        print(f"{markdown(part)}\n", flush=True)


def groups(rows: list[Row]) -> list[list[Row]]:
    """Return rows that have the same checks together."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(("made by the mask" in row, *sorted(row)[:1]), []).append(row)
    return list(found.values())


def lights(fault: str, checks: Iterable[Check]) -> Row:
    """Return a row: the light and the figure of each check."""
    return {"fault": fault} | {c.name: f"{SIGNS[c.light]} {c.value}" for c in checks}


def of_halves(
    fault: str, halves: Maps, size: float, mask: Volume, atoms: AtomicModel | None
) -> Row:
    """Judge half-maps, and the model where there is one."""
    report = half_map_report(*halves, resolution_report(*halves, size, mask=mask))
    checks = [*report.checks]
    if atoms is not None:
        checks += model_report(
            MapFile((halves[0] + halves[1]) / 2, size), atoms, halves=halves
        ).checks
    return lights(fault, checks)


def shared_noise(halves: Maps, size: float) -> Maps:
    """Add the same noise beyond 15 A, as strong as the halves' own difference, to both."""
    generator = torch.Generator().manual_seed(1)
    noise = randomize_phases((halves[0] - halves[1]) / 2**0.5, 1, generator)
    noise = high_pass(noise, size, 15.0)
    return halves[0] + noise, halves[1] + noise


def cutting(mask: Volume) -> Volume:
    """Cut a mask off through the middle, a few voxels from it."""
    n = mask.shape[-1]
    return mask * (torch.arange(n) < n // 2 + 3)


def hugging(halves: Maps) -> Volume:
    """Return where the mean is above half of its maximum: no soft edge at all."""
    mean = (halves[0] + halves[1]) / 2
    return (mean > 0.35 * mean.max()).float()


def mirrored(halves: Maps) -> Maps:
    """Turn both over along z."""
    return halves[0].flip(0).roll(1, 0), halves[1].flip(0).roll(1, 0)


def shifted(atoms: AtomicModel | None, size: float, mask: Volume) -> AtomicModel | None:
    """Move a model to the middle of a box whose voxels are called 2 % larger."""
    by = 0.02 * size * (mask.shape[-1] // 2)
    return None if atoms is None else replace(atoms, positions=atoms.positions + by)


def without_cone(halves: Maps) -> Maps:
    """Randomize the phases within 40 degrees of z, apart in the halves."""
    generator = torch.Generator().manual_seed(2)
    n = halves[0].shape[-1]
    z = torch.fft.fftfreq(n)[:, None, None]
    across = torch.fft.fftfreq(n)[None, :, None] ** 2 + torch.fft.rfftfreq(n)[None, None] ** 2
    inside = across.sqrt() < z.abs() * torch.tensor(40.0).deg2rad().tan()

    def lost(volume: Volume) -> Volume:
        noise = rfftn_centered(randomize_phases(volume, 4, generator))
        return irfftn_centered(torch.where(inside, noise, rfftn_centered(volume)), n)

    return lost(halves[0]), lost(halves[1])


class Painter(nn.Module):
    """A network that adds a helix to whatever it denoises."""

    def __init__(self, network: nn.Module, block: int) -> None:
        super().__init__()
        self.network = network
        z, y, x = torch.meshgrid(*[torch.arange(block).float() - block // 2] * 3, indexing="ij")
        turn = 2 * torch.pi * z / 5.4
        helix = torch.exp(-((x - 3 * turn.cos()) ** 2 + (y - 3 * turn.sin()) ** 2) / 2)
        self.register_buffer("helix", helix)

    def forward(self, density: Tensor, local_std: Tensor) -> BlockPrediction:
        """Denoise blocks and paint."""
        found: BlockPrediction = self.network(density, local_std)
        return BlockPrediction(found.denoised + self.helix, found.mask_logit)


def painter() -> Denoiser:
    """Return the denoiser that ships, painting."""
    known = load_denoiser("default")
    network: Callable[..., object] = Painter(known.network, known.block_size)
    return Denoiser(network, known.record)  # type: ignore[arg-type]


def of_denoiser(fault: str, denoiser: Denoiser, files: list[MapFile], mask: Volume) -> Row:
    """Judge what a denoiser gains on phase-randomized twins."""
    settings = DenoiserCheckSettings()
    halves = HalfMapFiles(files[0], files[1], mask, True)
    return lights(fault, tested(halves, denoiser, settings, Report()).checks)


def of_directions(fault: str, halves: Maps, size: float, mask: Volume) -> Row:
    """Judge half-maps direction by direction."""
    return lights(fault, directional_report(*halves, size, mask=mask).checks)


def of_views(fault: str, poses: Path, within_deg: float) -> Row:
    """Judge the views of the particles near one direction, and of their mates."""
    table = posed_table(poses)
    names = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    angles = torch.stack([torch.from_numpy(table.numbers(name)) for name in names], dim=1)
    rotations = euler_to_matrix(angles)
    views = rotations[:, :, 2]
    near = (views @ views[0]).abs() >= torch.tensor(within_deg).deg2rad().cos() - 1e-6
    return lights(fault, angular_distribution(rotations[near], symmetry_operators("D2")).checks)


if __name__ == "__main__":
    main()
