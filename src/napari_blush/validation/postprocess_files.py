"""The files of a post-processing, under RELION's names and labels."""

from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from napari_blush.io.mrc import write_map
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import columns_of, write_star
from napari_blush.numerics.shells import shell_to_resolution
from napari_blush.validation.resolution import ResolutionReport

_NO_RESOLUTION = 999.0
"""What RELION writes where a curve has no resolution, in angstrom."""


def write_postprocess(folder: Path, report: ResolutionReport) -> list[Path]:
    """Write sharpened maps, the mask where it was drawn, and the curves.

    Parameters
    ----------
    folder : Path
        Exists already.
    report : ResolutionReport

    Returns
    -------
    list of Path
        ``postprocess.mrc`` (sharpened), ``postprocess_masked.mrc``, ``postprocess.star`` (tables
        ``general`` and ``fsc``), and ``automask.mrc`` for an automatic mask.
    """
    maps = {"postprocess.mrc": report.sharpened, "postprocess_masked.mrc": _masked(report)}
    if report.mask_is_automatic:
        maps["automask.mrc"] = report.mask
    for name, volume in maps.items():
        write_map(folder / name, volume.cpu(), report.voxel_size)
    table = folder / "postprocess.star"
    write_star(table, [_general(report), _fsc(report)])
    return [*(folder / name for name in maps), table]


def _masked(report: ResolutionReport) -> Tensor:
    return report.sharpened * report.mask.to(report.sharpened)


def _general(report: ResolutionReport) -> StarBlock:
    values = {
        "rlnFinalResolution": [_finite(report.resolution)],
        "rlnBfactorUsedForSharpening": [report.b_factor],
        "rlnParticleBoxFractionSolventMask": [1 / report.box_over_mask],
        "rlnPixelSize": [report.voxel_size],
    }
    return StarBlock("general", columns_of(values), is_loop=False)


def _fsc(report: ResolutionReport) -> StarBlock:
    curves = report.fsc
    n_shells = len(curves.corrected)
    box_size = 2 * (n_shells - 1)
    angstrom = [
        shell_to_resolution(float(shell), box_size, report.voxel_size) for shell in range(n_shells)
    ]
    values = {
        "rlnSpectralIndex": torch.arange(n_shells).numpy(),
        "rlnResolution": [1 / size if isfinite(size) else 0.0 for size in angstrom],
        "rlnAngstromResolution": [_finite(size) for size in angstrom],
        "rlnFourierShellCorrelationCorrected": curves.corrected.double().cpu().numpy(),
        "rlnFourierShellCorrelationParticleMaskFraction": report.fsc_mask_fraction.cpu().numpy(),
        "rlnFourierShellCorrelationUnmaskedMaps": curves.unmasked.cpu().numpy(),
        "rlnFourierShellCorrelationMaskedMaps": curves.masked.cpu().numpy(),
        "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": (
            curves.phase_randomized.cpu().numpy()
        ),
    }
    return StarBlock("fsc", columns_of(values))


def _finite(angstrom: float) -> float:
    return angstrom if isfinite(angstrom) else _NO_RESOLUTION
