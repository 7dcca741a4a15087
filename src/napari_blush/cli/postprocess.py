"""``napari-blush postprocess``: resolution of two half-maps, and their mean sharpened."""

from argparse import Namespace
from math import isfinite
from pathlib import Path

from napari_blush.data_model.tool_settings import PostprocessSettings
from napari_blush.errors import MrcFileError
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.validation.postprocess_files import PostprocessNames, write_postprocess
from napari_blush.validation.resolution import ResolutionReport, resolution_report

_SAME_SIZE = 1e-3  # relative: what two headers may differ by rounding


def execute(settings: PostprocessSettings, options: Namespace) -> int:
    """Judge and sharpen the maps that ``options`` names; return the exit code."""
    half1 = read_map(options.half1, voxel_size=settings.voxel_size)
    half2 = read_map(options.half2, voxel_size=settings.voxel_size)
    _check_alike(options.half1, half1, options.half2, half2)
    mask = None if settings.mask is None else read_map(settings.mask, voxel_size=half1.voxel_size)
    report = resolution_report(
        half1.volume,
        half2.volume,
        half1.voxel_size,
        mask=None if mask is None else mask.volume,
        b_factor=settings.b_factor,
        fit_from=settings.fit_from,
        fit_to=settings.fit_to,
        seed=settings.seed,
    )
    options.output.mkdir(parents=True, exist_ok=True)
    mask_name = None if settings.mask is None else str(settings.mask)
    names = PostprocessNames(str(options.half1), str(options.half2), mask_name)
    paths = write_postprocess(options.output, report, names)
    for line in (*summary(report), *(f"Wrote {path}" for path in paths)):
        print(line)
    return 0


def summary(report: ResolutionReport) -> list[str]:
    """Return the figures to quote, and what to be wary of."""
    mask = "an automatic mask" if report.mask_is_automatic else "the mask"
    lines = [
        f"Resolution {_angstrom(report.resolution)} at FSC 0.143 "
        f"({_angstrom(report.resolution_half)} at 0.5), inside {mask} and corrected by phase "
        "randomization.",
        f"Unmasked {_angstrom(report.resolution_unmasked)}, masked "
        f"{_angstrom(report.resolution_masked)}.",
    ]
    if report.fsc.randomized_from_shell is None:
        lines.append("The unmasked FSC never falls below 0.8: no correction, unmasked curve used.")
    if report.guinier is None:
        lines.append("Too coarse to fit a B-factor.")
    lines.append(f"Sharpened with a B-factor of {report.b_factor:.0f} A^2.")
    return lines


def _angstrom(resolution: float) -> str:
    return f"{resolution:.2f} A" if isfinite(resolution) else "none"


def _check_alike(path1: Path, half1: MapFile, path2: Path, half2: MapFile) -> None:
    """Refuse maps that cannot be two halves of one refinement."""
    same_box = half1.volume.shape == half2.volume.shape
    if same_box and abs(half1.voxel_size / half2.voxel_size - 1) < _SAME_SIZE:
        return
    raise MrcFileError(
        f"{path1} has {half1.volume.shape[-1]} voxels of {half1.voxel_size:g} A and {path2} "
        f"{half2.volume.shape[-1]} of {half2.voxel_size:g} A; wanted two half-maps of one "
        "refinement; check the paths."
    )
