"""The tables of a run folder, with the labels under which RELION keeps them.

Labels: RELION's metadata of versions 3.1 and 5 (spectra per optics group as in 5). Power spectra
are those of RELION's transforms, which are this package's divided by the box size, so that powers
are divided by its square (see ``likelihood.half_model``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.results import IterationResult
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.io.star import pose_columns
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import columns_of
from napari_blush.numerics.healpix import pixel_angles

_UNKNOWN_RESOLUTION = 999.0
_LARGEST_RATIO = 999.0


@dataclass(frozen=True, slots=True)
class RunDescription:
    """What all tables of a run share: settings, particles, and the half of each particle."""

    settings: RefinementSettings
    particles: Particles
    random_subset: Tensor


def data_updates(
    run: RunDescription, result: IterationResult
) -> dict[str, npt.NDArray[np.generic]]:
    """Return the columns of ``data.star`` that an iteration sets."""
    statistics = result.pose_statistics
    columns: dict[str, npt.NDArray[np.generic]] = {
        "rlnGroupNumber": run.particles.group_index.numpy() + 1
    }
    columns |= pose_columns(result.poses)
    columns["rlnClassNumber"] = np.ones(len(run.particles), dtype=np.int64)
    columns["rlnNormCorrection"] = statistics.norm_correction.double().numpy()
    columns["rlnRandomSubset"] = run.random_subset.numpy()
    columns["rlnLogLikeliContribution"] = statistics.log_likelihood.double().numpy()
    columns["rlnMaxValueProbDistribution"] = statistics.p_max.double().numpy()
    columns["rlnNrOfSignificantSamples"] = statistics.n_significant.long().numpy()
    return columns


def model_blocks(
    run: RunDescription, result: IterationResult, half: int | None, map_name: str
) -> list[StarBlock]:
    """Return ``model.star`` of a half (1 or 2), or of both together (None)."""
    which = (half or 1) - 1
    box, voxel = result.half_maps.half1.shape[0], result.half_maps.voxel_size
    general: dict[str, str | float] = {
        "rlnReferenceDimensionality": 3,
        "rlnDataDimensionality": 2,
        "rlnOriginalImageSize": box,
        "rlnCurrentResolution": _resolution(result),
        "rlnCurrentImageSize": result.current_size,
        "rlnPaddingFactor": float(run.settings.padding),
        "rlnIsHelix": 0,
        "rlnFourierSpaceInterpolator": 1,
        "rlnMinRadiusNnInterpolation": 10,
        "rlnPixelSize": voxel,
        "rlnNrClasses": 1,
        "rlnNrBodies": 1,
        "rlnNrGroups": len(run.particles.group_names),
        "rlnNrOpticsGroups": len(run.particles.optics_groups),
        "rlnTau2FudgeFactor": run.settings.tau2_fudge,
        **_regularization(result),
        "rlnNormCorrectionAverage": float(result.pose_statistics.norm_correction.double().mean()),
        "rlnSigmaOffsetsAngst": result.sigma_offset_angstrom[which],
        **_orientational_prior(result),
        "rlnLogLikelihood": float(_of_half(run, result.pose_statistics.log_likelihood, half).sum()),
        "rlnAveragePmax": float(_of_half(run, result.pose_statistics.p_max, half).mean()),
    }
    classes: dict[str, npt.ArrayLike] = {
        "rlnReferenceImage": [map_name],
        "rlnClassDistribution": [1.0],
        "rlnAccuracyRotations": [result.accuracy.rotation_deg],
        "rlnAccuracyTranslationsAngst": [result.accuracy.translation_angstrom],
        "rlnEstimatedResolution": [_resolution(result)],
    }
    counts = torch.bincount(
        _of_half(run, run.particles.group_index, half), minlength=len(run.particles.group_names)
    )
    groups: dict[str, npt.ArrayLike] = {
        "rlnGroupNumber": np.arange(1, len(counts) + 1),
        "rlnGroupName": list(run.particles.group_names),
        "rlnGroupNrParticles": counts.numpy(),
        "rlnGroupScaleCorrection": result.group_scale[which].double().numpy(),
    }
    noise = result.sigma2_noise[which].double() / box**2
    blocks = [
        _list("model_general", general),
        StarBlock("model_classes", columns_of(classes)),
        StarBlock("model_class_1", columns_of(_class_spectra(run, result, which))),
        StarBlock("model_groups", columns_of(groups)),
    ]
    for number, spectrum in enumerate(noise.reshape(-1, noise.shape[-1]), start=1):
        columns = _shells(box, voxel) | {"rlnSigma2Noise": spectrum.numpy()}
        del columns["rlnAngstromResolution"]
        blocks.append(StarBlock(f"model_optics_group_{number}", columns_of(columns)))
    directions = {"rlnOrientationDistribution": result.pdf_direction[which].double().numpy()}
    blocks.append(StarBlock("model_pdf_orient_class_1", columns_of(directions)))
    return blocks


def sampling_blocks(run: RunDescription, result: IterationResult) -> list[StarBlock]:
    """Return ``sampling.star``: the grids of the coarse pass, and the directions of the prior."""
    sampling, settings = result.sampling, run.settings
    voxel = result.half_maps.voxel_size
    general: dict[str, str | float] = {
        "rlnIs3DSampling": 1,
        "rlnIs3DTranslationalSampling": 0,
        "rlnHealpixOrder": sampling.healpix_order,
        "rlnSymmetryGroup": settings.symmetry,
        "rlnTiltAngleLimit": -91.0,
        "rlnPsiStep": 60 / 2**sampling.healpix_order,
        "rlnOffsetRange": sampling.offset_range_angstrom,
        "rlnOffsetStep": sampling.offset_step_angstrom,
        "rlnHelicalOffsetStep": -1.0,
        "rlnSamplingPerturbInstance": sampling.perturbation,
        "rlnSamplingPerturbFactor": 0.5,
        "rlnHealpixOrderOriginal": settings.healpix_order,
        "rlnPsiStepOriginal": 60 / 2**settings.healpix_order,
        "rlnOffsetRangeOriginal": settings.offset_range * voxel,
        "rlnOffsetStepOriginal": settings.offset_step * voxel,
    }
    # As many directions as the prior has values: 12 * 4**order of them.
    order = (len(result.pdf_direction[0]) // 12).bit_length() // 2
    rot, tilt = pixel_angles(order)
    directions = columns_of({"rlnAngleRot": rot.numpy(), "rlnAngleTilt": tilt.numpy()})
    return [
        _list("sampling_general", general),
        StarBlock("sampling_directions", directions),
    ]


def optimiser_blocks(
    run: RunDescription,
    result: IterationResult,
    names: Mapping[str, str],
    *,
    has_converged: bool,
) -> list[StarBlock]:
    """Return ``optimiser.star``, which names the other files (``names``: label to file)."""
    settings = run.settings
    box, voxel = result.half_maps.half1.shape[0], result.half_maps.voxel_size
    diameter = settings.particle_diameter or (box - 5) * voxel
    general: dict[str, str | float] = {
        **names,
        "rlnCurrentIteration": result.iteration,
        "rlnNumberOfIterations": settings.max_iterations,
        "rlnDoSplitRandomHalves": 1,
        "rlnJoinHalvesUntilThisResolution": settings.low_resolution_join,
        "rlnAdaptiveOversampleOrder": settings.adaptive_oversampling,
        "rlnAdaptiveOversampleFraction": settings.adaptive_fraction,
        "rlnRandomSeed": settings.seed,
        "rlnParticleDiameter": diameter,
        "rlnWidthMaskEdge": 5,
        "rlnDoZeroMask": int(settings.zero_mask),
        "rlnDoSolventFlattening": 1,
        "rlnDoSolventFscCorrection": int(settings.solvent_corrected_fsc),
        "rlnSolventMaskName": str(settings.solvent_mask or "None"),
        "rlnDoAutoRefine": 1,
        "rlnAutoLocalSearchesHealpixOrder": settings.local_search_from,
        "rlnBestResolutionThusFar": 1 / _resolution(result),
        "rlnOverallAccuracyRotations": result.accuracy.rotation_deg,
        "rlnOverallAccuracyTranslationsAngst": result.accuracy.translation_angstrom,
        "rlnChangesOptimalOrientations": result.changes_rotation_deg,
        "rlnChangesOptimalOffsets": result.changes_offset_angstrom,
        "rlnHasConverged": int(has_converged),
        "rlnDoBlush": int(settings.regularizer == "blush"),
        "rlnBlushNoSpectralTrailing": int(not settings.spectral_trailing),
        "rlnDoCorrectNorm": int(settings.norm_correction),
        "rlnDoCorrectScale": int(settings.scale_correction),
        "rlnDoCorrectCtf": 1,
        "rlnRefsAreCtfCorrected": 1,
    }
    return [_list("optimiser_general", general)]


def _list(name: str, values: Mapping[str, str | float]) -> StarBlock:
    return StarBlock(name, columns_of({label: [value] for label, value in values.items()}), False)


def _resolution(result: IterationResult) -> float:
    """Return the resolution in angstrom, 999 where there is none."""
    resolution = result.resolution_angstrom
    return resolution if 0 < resolution < _UNKNOWN_RESOLUTION else _UNKNOWN_RESOLUTION


def _of_half(run: RunDescription, values: Tensor, half: int | None) -> Tensor:
    return values if half is None else values[run.random_subset == half]


def _regularization(result: IterationResult) -> dict[str, str | float]:
    """Return what made the references, under labels of our own, which RELION passes over."""
    cutoff = -1 if result.cutoff_shell is None else result.cutoff_shell
    by = result.regularized_by or "None"
    return {"blushRegularizer": by, "blushCutoffShell": cutoff}


def _orientational_prior(result: IterationResult) -> dict[str, float]:
    sigma = result.sampling.local_search_sigma_deg
    labels = ("rlnSigmaPriorRotAngle", "rlnSigmaPriorTiltAngle", "rlnSigmaPriorPsiAngle")
    return {"rlnOrientationalPriorMode": int(sigma is not None)} | dict.fromkeys(
        labels, sigma or 0.0
    )


def _shells(box: int, voxel: float) -> dict[str, npt.ArrayLike]:
    index = np.arange(box // 2 + 1)
    with np.errstate(divide="ignore"):
        angstrom = np.where(index == 0, _UNKNOWN_RESOLUTION, box * voxel / index)
    return {
        "rlnSpectralIndex": index,
        "rlnResolution": index / (box * voxel),
        "rlnAngstromResolution": angstrom,
    }


def _class_spectra(
    run: RunDescription, result: IterationResult, which: int
) -> dict[str, npt.ArrayLike]:
    box, voxel = result.half_maps.half1.shape[0], result.half_maps.voxel_size
    masked = run.settings.solvent_mask is not None or run.settings.automatic_mask
    corrected = run.settings.solvent_corrected_fsc and masked
    fsc = result.fsc.corrected if corrected else result.fsc.unmasked
    return _shells(box, voxel) | {
        "rlnSsnrMap": result.data_vs_prior.double().clamp(max=_LARGEST_RATIO).numpy(),
        "rlnGoldStandardFsc": fsc.double().numpy(),
        "rlnReferenceTau2": (result.tau2[which].double() / box**2).numpy(),
    }
