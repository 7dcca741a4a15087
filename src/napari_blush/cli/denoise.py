"""``napari-blush denoise``: maps through the denoiser, outside of a refinement.

::

    NAME_denoised.mrc       on the grid and grey scale of NAME.mrc
    NAME_network_mask.mrc   with --network-mask
    NAME_difference.mrc     with --difference: NAME less NAME_denoised

A denoised map is a reference to align to. Its label says so, and by which weights.
"""

import contextlib
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_blush.cli.report import Report
from napari_blush.conventions import Volume
from napari_blush.data_model.denoise_settings import DenoiseSettings
from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.inference import DenoisedVolume, DenoiseOptions, denoise_steps
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.errors import MrcFileError, SettingsError
from napari_blush.io.mrc import MapFile, read_map, write_map
from napari_blush.numerics.devices import chosen_device
from napari_blush.numerics.filters import low_pass_at_shell

_MAP_SUFFIXES = (".mrc", ".map", ".ccp4")
_GIGABYTE = 2**30


@dataclass(frozen=True, slots=True)
class Target:
    """A map to denoise, and the files to write."""

    source: Path
    denoised: Path

    def beside(self, what: str) -> Path:
        """Return the path of another file on this map."""
        stem = self.denoised.stem.removesuffix("_denoised")
        return self.denoised.with_name(f"{stem}_{what}.mrc")


def execute(settings: DenoiseSettings, options: Namespace) -> int:
    """Denoise the maps that ``options`` names; return the exit code."""
    report = Report()
    targets = targets_of(options.maps, options.output)
    denoiser = load_denoiser(settings.denoiser).to(chosen_device(settings.device, SettingsError))
    report.line(f"Weights {denoiser.record}.")
    report.line(f"  sha256 {denoiser.record.sha256}")
    report.line(f"Denoising on {denoiser.device}, {settings.mode} mode.")
    with threads(settings.threads):
        for target in targets:
            denoise_file(target, denoiser, settings, report)
    return 0


def targets_of(maps: list[Path], output: Path) -> list[Target]:
    """Return what is to be written where; the output is a file only when it is called like one.

    Raises
    ------
    SettingsError
        When two maps would be written to one file, or a map over one that is read.
    """
    if output.suffix.lower() in _MAP_SUFFIXES:
        if len(maps) > 1:
            raise SettingsError(
                f"{len(maps)} maps and the single file {output} were given; wanted a folder for "
                "more than one map: give --output a folder."
            )
        targets = [Target(maps[0], output)]
    else:
        targets = [Target(path, output / f"{path.stem}_denoised.mrc") for path in maps]
    written = [target.denoised.resolve() for target in targets]
    for target in targets:
        place = target.denoised.resolve()
        if written.count(place) > 1 or place in [path.resolve() for path in maps]:
            raise SettingsError(
                f"{target.source} would be written to {target.denoised}, where another map goes or "
                "lies; wanted a file of its own for each: denoise into different folders."
            )
    return targets


def denoise_file(
    target: Target, denoiser: Denoiser, settings: DenoiseSettings, report: Report
) -> None:
    """Read, denoise and write one map."""
    given = read_map(target.source, voxel_size=settings.voxel_size, allow_odd=True)
    found = followed(given, denoiser, denoise_options(given, settings), target.source, report)
    for message in found.messages:
        report.line(f"  {message}")
    volume = filled(given, found, settings, report)
    label = (
        f"Denoised: a reference to align to. Weights {denoiser.record.name}\n"
        f"sha256 {denoiser.record.sha256}"
    )
    files = {target.denoised: volume}
    if settings.network_mask:
        files[target.beside("network_mask")] = found.network_mask
    if settings.difference:
        files[target.beside("difference")] = given.volume - volume
    make_folder(target.denoised.parent)
    for path, content in files.items():
        write_map(path, content, given.voxel_size, given.origin_angstrom, label=label)
        report.line(f"Wrote {path}")


def denoise_options(given: MapFile, settings: DenoiseSettings) -> DenoiseOptions:
    """Return the settings as the denoiser takes them, the mask read."""
    mask: Volume | None = None
    if settings.mask is not None:
        mask = read_map(settings.mask, voxel_size=given.voxel_size, allow_odd=True).volume
    limit = settings.memory_limit
    return DenoiseOptions(
        mode=settings.mode,
        stride=settings.stride,
        batch_size=settings.batch_size,
        mask=mask,
        particle_diameter=settings.particle_diameter,
        precision=settings.precision,
        memory_bytes=None if limit is None else int(limit * _GIGABYTE),
    )


def followed(
    given: MapFile, denoiser: Denoiser, options: DenoiseOptions, source: Path, report: Report
) -> DenoisedVolume:
    """Denoise, with the progress on the terminal."""
    steps = denoise_steps(given.volume, given.voxel_size, denoiser, options)
    with contextlib.closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as finished:
                report.progress.close()
                result: DenoisedVolume = finished.value
                return result
            report.progress.update(f"Denoising {source.name}", step.done, max(step.total, 1))


def filled(
    given: MapFile, found: DenoisedVolume, settings: DenoiseSettings, report: Report
) -> Volume:
    """Return the denoised map, beyond the denoiser's Nyquist frequency as asked for."""
    n = given.volume.shape[-1]
    shell = found.nyquist_shell
    if shell >= n // 2:
        return found.volume
    finest = f"{n * given.voxel_size / shell:.2f} A"
    if not settings.keep_beyond_nyquist:
        report.line(
            f"Nothing finer than {finest} is in the denoised map: the denoiser's grid ends there "
            "(--keep-beyond-nyquist fills it from the map)."
        )
        return found.volume
    report.line(f"What is finer than {finest} is the map as it came, not denoised.")
    rest = given.volume - found.volume
    return found.volume + rest - low_pass_at_shell(rest, shell - 1)


def make_folder(folder: Path) -> None:
    """Make the folder of the output."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise MrcFileError(
            f"Cannot make the folder {folder}: {problem.strerror}; choose another --output."
        ) from problem


@contextlib.contextmanager
def threads(wanted: int | None) -> Iterator[None]:
    """Compute with so many threads inside the block."""
    before = torch.get_num_threads()
    if wanted is not None:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
