"""The files of a post-processing, under RELION's names and labels."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_blush.io.mrc import write_map
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import columns_of, write_star
from napari_blush.numerics.sharpening import fsc_weight, shell_amplitude, squared_frequency
from napari_blush.numerics.shells import shell_to_resolution
from napari_blush.validation.resolution import ResolutionReport

_NO_RESOLUTION = 999.0
"""What RELION writes where a curve has no resolution, in angstrom."""

_NO_LOGARITHM = -99.0
"""What RELION writes for the logarithm of zero."""

AUTOMATIC_MASK = "automask.mrc"


@dataclass(frozen=True, slots=True)
class PostprocessNames:
    """The files that a report is of, as they are to be named in the table.

    Parameters
    ----------
    half1, half2 : str
    mask : str or None
        None where the mask is automatic.
    """

    half1: str
    half2: str
    mask: str | None


def write_postprocess(
    folder: Path, report: ResolutionReport, names: PostprocessNames
) -> list[Path]:
    """Write sharpened maps, the mask where it was drawn, and the curves.

    Parameters
    ----------
    folder : Path
        Exists already.
    report : ResolutionReport
    names : PostprocessNames

    Returns
    -------
    list of Path
        ``postprocess.mrc`` (sharpened), ``postprocess_masked.mrc``, ``postprocess.star`` (tables
        ``general``, ``fsc`` and ``guinier``), and ``automask.mrc`` for an automatic mask.
    """
    maps = {"postprocess.mrc": report.sharpened, "postprocess_masked.mrc": _masked(report)}
    if report.mask_is_automatic:
        maps[AUTOMATIC_MASK] = report.mask
    for name, volume in maps.items():
        write_map(folder / name, volume.cpu(), report.voxel_size)
    table = folder / "postprocess.star"
    write_star(table, [_general(folder, report, names), _fsc(report), _guinier(report)])
    return [*(folder / name for name in maps), table]


def _masked(report: ResolutionReport) -> Tensor:
    return report.sharpened * report.mask.to(report.sharpened)


def _general(folder: Path, report: ResolutionReport, names: PostprocessNames) -> StarBlock:
    values: dict[str, float | str] = {
        "rlnFinalResolution": _finite(report.resolution),
        "rlnBfactorUsedForSharpening": report.b_factor,
        "rlnUnfilteredMapHalf1": names.half1,
        "rlnUnfilteredMapHalf2": names.half2,
        "rlnParticleBoxFractionSolventMask": report.box_over_mask,
        "rlnMaskName": names.mask or str(folder / AUTOMATIC_MASK),
        "rlnPixelSize": report.voxel_size,
    }
    shell = report.fsc.randomized_from_shell
    if shell is not None:
        box_size = int(report.average.shape[-1])
        values["rlnRandomiseFrom"] = shell_to_resolution(shell, box_size, report.voxel_size)
    if report.guinier is not None:
        values["rlnFittedSlopeGuinierPlot"] = report.guinier.b_factor / 4
        values["rlnFittedInterceptGuinierPlot"] = report.guinier.intercept
        values["rlnCorrelationFitGuinierPlot"] = report.guinier.r_squared
    columns = columns_of({label: [value] for label, value in values.items()})
    return StarBlock("general", columns, is_loop=False)


def _fsc(report: ResolutionReport) -> StarBlock:
    curves = report.fsc
    n_shells = len(curves.corrected)
    box_size = 2 * (n_shells - 1)
    angstrom = [
        shell_to_resolution(float(shell), box_size, report.voxel_size) for shell in range(n_shells)
    ]
    values: dict[str, npt.ArrayLike] = {
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


def _guinier(report: ResolutionReport) -> StarBlock:
    weighted = shell_amplitude(report.average) * fsc_weight(report.fsc.corrected)
    n_shells = len(weighted)
    squared = squared_frequency(n_shells, int(report.average.shape[-1]), report.voxel_size)
    values = {
        "rlnResolutionSquared": squared.numpy(),
        "rlnLogAmplitudesOriginal": _logarithm(shell_amplitude(report.average)),
        "rlnLogAmplitudesWeighted": _logarithm(weighted),
        "rlnLogAmplitudesSharpened": _logarithm(shell_amplitude(report.sharpened)),
    }
    if report.guinier is not None:
        values["rlnLogAmplitudesIntercept"] = np.full(n_shells, report.guinier.intercept)
    return StarBlock("guinier", columns_of(values))


def _logarithm(amplitude: Tensor) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = amplitude.double().cpu().numpy()
    # What is left of a weight of zero after a transform there and back is no amplitude.
    positive = values > 1e-6 * values.max()
    logarithms = np.full(len(values), _NO_LOGARITHM)
    logarithms[positive] = np.log(values[positive])
    return logarithms


def _finite(angstrom: float) -> float:
    return angstrom if isfinite(angstrom) else _NO_RESOLUTION
