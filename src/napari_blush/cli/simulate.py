"""``napari-blush simulate``: particle images of an atomic model or a map, with the truth beside."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from napari_blush import __version__
from napari_blush.cli.report import Progress
from napari_blush.cli.simulation_folder import (
    STACK_NAME,
    mask_diameter,
    write_images,
    write_info,
    write_maps,
    write_tables,
)
from napari_blush.conventions import Volume
from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.tool_settings import SimulationSettings
from napari_blush.errors import SettingsError
from napari_blush.io.atoms import read_atoms
from napari_blush.io.mrc import read_map
from napari_blush.numerics.resample import match_box
from napari_blush.simulation.atomic_density import BulkSolvent, centered_in_box, density_of_atoms
from napari_blush.simulation.exposure import (
    DefocusPlan,
    Exposure,
    draw_exposure,
    signal_scale_of_dose,
)
from napari_blush.simulation.images import (
    NoisyImages,
    ProjectedImages,
    as_particles,
    scale_for_snr,
)
from napari_blush.simulation.noise import coloured_spectrum, noise_power, white_spectrum
from napari_blush.simulation.orientations import draw_orientations, draw_shifts

_MAP_SUFFIXES = (".mrc", ".map", ".ccp4")
_DEFAULT_SNR = 0.1
_BEST_ORDERED = 0.01
"""Quantile of the B-factors that is brought to the one asked for."""


@dataclass(frozen=True, slots=True)
class SimulationSummary:
    """What came of a simulation.

    Parameters
    ----------
    snr : float
        Variance of the signal over the whole box by that of the noise.
    signal_scale : float
        From the density of the model to that of ``truth.mrc``.
    particle_diameter : float
        To refine with, in angstrom.
    """

    snr: float
    signal_scale: float
    particle_diameter: float


def execute(settings: SimulationSettings, options: Namespace) -> int:
    """Simulate what ``options`` names; return the exit code."""
    return run(options.model, options.output, settings)


def run(model: Path, output: Path, settings: SimulationSettings) -> int:
    """Simulate particles of ``model`` into the folder ``output`` and say how to refine them."""
    summary = simulate_into(model, output, settings)
    print(
        f"Wrote {settings.n_particles} particles of {settings.box_size} px and "
        f"{settings.pixel_size:g} A/px at a signal-to-noise ratio of {summary.snr:.3g} to {output}."
    )
    print(
        f"To refine them: napari-blush refine {output / 'particles.star'} --reference "
        f"{output / 'start_map.mrc'} --mask {output / 'mask.mrc'} --particle-diameter "
        f"{summary.particle_diameter:g} --initial-low-pass {settings.start_map_resolution:g} "
        "--output DIR"
    )
    return 0


def simulate_into(model: Path, output: Path, settings: SimulationSettings) -> SimulationSummary:
    """Simulate particles of a model and write all files of ``simulation_folder``.

    Parameters
    ----------
    model : Path
        Atomic model (PDB or mmCIF, ``.gz`` or not) or a map.
    output : Path
        Folder, made where it does not exist; files of the same names are replaced.
    settings : SimulationSettings
        The same settings, model and version give the same files.

    Raises
    ------
    SettingsError
        When a dose is asked for with a map, whose density has no unit.
    """
    density, moved = density_of(model, settings)
    if settings.dose is not None and moved is None:
        raise SettingsError(
            f"A dose was given with {model}, a map, whose grey values have no unit; wanted a "
            "signal-to-noise ratio (--snr) with maps."
        )
    poses, exposure = draw_experiment(settings)
    signal = ProjectedImages(density, poses, exposure)
    if settings.dose is None:
        snr = _DEFAULT_SNR if settings.snr is None else settings.snr
        scale = scale_for_snr(signal, snr)
    else:
        scale = signal_scale_of_dose(settings.dose, settings.pixel_size, settings.voltage_kv)
        snr = scale**2 * signal.signal_variance()
    (output / "truth").mkdir(parents=True, exist_ok=True)
    _write_particles(output, settings, signal, scale)
    mask = write_maps(output, scale * density, settings.pixel_size, settings.start_map_resolution)
    summary = SimulationSummary(snr, scale, mask_diameter(mask, settings.pixel_size))
    info = _info(model, settings, summary)
    write_info(output, info if moved is None else {**info, "model_shift_angstrom": moved})
    return summary


def density_of(
    model: Path, settings: SimulationSettings
) -> tuple[Volume, tuple[float, ...] | None]:
    """Return the density of a model on the grid of the images, and how its atoms were moved.

    That of atoms is in angstrom^-2, less a bulk solvent; that of a map is as in the file, and the
    movement None. Atoms moved by ``(x, y, z)`` angstrom lie in the frame of the map's file.
    """
    box_size, pixel_size = settings.box_size, settings.pixel_size
    if model.suffix.lower() in _MAP_SUFFIXES:
        file = read_map(model)
        return match_box(file.volume, file.voxel_size, pixel_size, box_size), None
    atoms = read_atoms(model)
    shift = settings.b_factor - float(atoms.b_iso.quantile(_BEST_ORDERED))
    centered = centered_in_box(atoms.positions, box_size, pixel_size)
    moved = (centered - atoms.positions)[0]
    density = density_of_atoms(
        centered,
        atoms.atomic_number,
        (atoms.b_iso + shift).clamp(min=0),
        box_size=box_size,
        voxel_size=pixel_size,
        occupancies=atoms.occupancy,
        solvent=BulkSolvent(),
    )
    return density, tuple(round(angstrom, 6) for angstrom in moved.tolist())


def draw_experiment(settings: SimulationSettings) -> tuple[Poses, Exposure]:
    """Draw poses and imaging parameters from the seed."""
    n, generator = settings.n_particles, torch.Generator().manual_seed(settings.seed)
    rotations = draw_orientations(n, settings.orientations, settings.orientation_spread, generator)
    shifts = settings.pixel_size * draw_shifts(n, settings.shift_sigma, generator)
    optics = OpticsGroup(
        name="opticsGroup1",
        voltage_kv=settings.voltage_kv,
        spherical_aberration_mm=settings.spherical_aberration_mm,
        amplitude_contrast=settings.amplitude_contrast,
        pixel_size=settings.pixel_size,
        box_size=settings.box_size,
    )
    plan = DefocusPlan(
        range_um=(settings.defocus_min, settings.defocus_max),
        astigmatism_um=settings.astigmatism,
        phase_shift_deg=settings.phase_shift_deg,
        particles_per_micrograph=settings.particles_per_micrograph,
    )
    return Poses(rotations, shifts), draw_exposure(n, (optics,), plan, generator)


def _write_particles(
    output: Path, settings: SimulationSettings, signal: ProjectedImages, scale: float
) -> None:
    spectrum = coloured_spectrum if settings.noise == "coloured" else white_spectrum
    power = noise_power(spectrum, settings.box_size, settings.pixel_size)
    if settings.noise == "none":
        power = torch.zeros_like(power)
    images = NoisyImages(signal, scale, power, settings.seed)
    progress = Progress()
    write_images(
        output / STACK_NAME,
        images,
        settings.pixel_size,
        settings.dtype,
        lambda done, total: progress.update("Simulating", done, total),
    )
    progress.close()
    write_tables(output, as_particles(images, signal.poses, signal.exposure))


def _info(model: Path, settings: SimulationSettings, summary: SimulationSummary) -> dict[str, Any]:
    return {
        "made_by": f"napari-blush {__version__} simulate",
        "model": model.name,
        "settings": settings.model_dump(mode="json"),
        "snr": summary.snr,
        "signal_scale": summary.signal_scale,
        "particle_diameter": summary.particle_diameter,
        "grey_scale": "noise has standard deviation 1 and mean 0; truth/truth.mrc, projected by "
        "summing voxels and modulated by the CTF, is the signal",
        "snr_means": "variance of the CTF-modulated signal over the whole box, averaged over "
        "images, by the variance of the noise of a pixel",
        "noise_spectra": "white; coloured: 0.3 + 3 / (1 + (40 k)^2) + 0.7 exp(-(6 k)^2 / 2), k in "
        "1/A, normalized to variance 1",
    }
