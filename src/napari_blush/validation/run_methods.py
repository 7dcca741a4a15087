"""The methods paragraph of a run, in words that follow its settings, and what it cites."""

import re
from dataclasses import dataclass

from napari_blush.validation.run_facts import RunFacts

_GRID_DEG = 60.0
"""Angular step of HEALPix order 0."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A work, with its address where it has one."""

    text: str
    address: str = ""


_OWN = Citation("napari-blush {version}. The napari-blush developers.")
_RELION = Citation(
    "Scheres, S. H. W. (2012). RELION: implementation of a Bayesian approach to cryo-EM structure "
    "determination. J. Struct. Biol. 180, 519–530.",
    "https://doi.org/10.1016/j.jsb.2012.09.006",
)
_GOLD = Citation(
    "Scheres, S. H. W. & Chen, S. (2012). Prevention of overfitting in cryo-EM structure "
    "determination. Nat. Methods 9, 853–854.",
    "https://doi.org/10.1038/nmeth.2115",
)
_HEALPIX = Citation(
    "Górski, K. M. et al. (2005). HEALPix: a framework for high-resolution discretization and fast "
    "analysis of data distributed on the sphere. Astrophys. J. 622, 759–771.",
    "https://doi.org/10.1086/427976",
)
_BLUSH = Citation(
    "Kimanius, D., Jamali, K., Wilkinson, M. E., Lövestam, S., Velazhahan, V., Nakane, T. & "
    "Scheres, S. H. W. (2024). Data-driven regularization lowers the size barrier of cryo-EM "
    "structure determination. Nat. Methods 21, 1216–1221.",
    "https://doi.org/10.1038/s41592-024-02304-8",
)
_NOISE = Citation(
    "Chen, S. et al. (2013). High-resolution noise substitution to measure overfitting and "
    "validate resolution in 3D structure determination by single particle electron cryomicroscopy. "
    "Ultramicroscopy 135, 24–35.",
    "https://doi.org/10.1016/j.ultramic.2013.06.004",
)
_RESOLUTION = Citation(
    "Rosenthal, P. B. & Henderson, R. (2003). Optimal determination of particle orientation, "
    "absolute hand, and contrast loss in single-particle electron cryomicroscopy. J. Mol. Biol. "
    "333, 721–745.",
    "https://doi.org/10.1016/j.jmb.2003.07.013",
)


def methods(run: RunFacts) -> tuple[str, list[Citation]]:
    """Return the paragraph, with numbers in brackets, and the works in the order of the numbers."""
    cited: list[Citation] = []

    def cite(*works: Citation) -> str:
        for work in works:
            if work not in cited:
                cited.append(work)
        return "[" + ", ".join(str(cited.index(work) + 1) for work in works) + "]"

    version = run.versions.get("napari-blush", "")
    own = Citation(_OWN.text.format(version=version).replace("  ", " "))
    sentences = [
        f"{run.n_particles} particle images ({run.box_size} px of {run.voxel_size:g} Å) were "
        f"refined with napari-blush {version} {cite(own)}, which follows the gold-standard "
        f"refinement of RELION {cite(_RELION, _GOLD)} with independent half-sets.",
        _start(run),
        _search(run, cite(_HEALPIX)),
        _references(run, cite(_BLUSH) if _is_blush(run) else ""),
    ]
    if run.settings.solvent_corrected_fsc:
        sentences.append(
            "The FSC between the half-maps was corrected for the mask by phase randomization "
            f"{cite(_NOISE)}."
        )
    sentences += _steering(run)
    if run.is_finished and run.resolution is not None:
        sentences.append(
            f"The resolution of the final map is {run.resolution:.1f} Å at an FSC of 0.143 "
            f"{cite(_RESOLUTION)}."
        )
    return " ".join(sentence for sentence in sentences if sentence), cited


def _is_blush(run: RunFacts) -> bool:
    return run.settings.regularizer == "blush" or run.regularizer.startswith("blush")


def _start(run: RunFacts) -> str:
    settings = run.begun_with
    if run.branched_from is not None:
        parent, iteration = run.branched_from
        return f"The run went on from iteration {iteration} of the run {parent.name}."
    filtered = (
        "as it was"
        if settings.initial_low_pass is None
        else f"low-pass filtered to {settings.initial_low_pass:g} Å"
    )
    diameter = (
        ""
        if settings.particle_diameter is None
        else f", with a circular mask of {settings.particle_diameter:g} Å on the images"
    )
    return (
        f"The start map was {filtered}; point group {settings.symmetry} was imposed{diameter}. "
        f"The half-sets share what is coarser than {settings.low_resolution_join:g} Å."
    )


def _search(run: RunFacts, healpix: str) -> str:
    settings = run.begun_with
    begins, turns_local = (
        _GRID_DEG / 2**order for order in (settings.healpix_order, settings.local_search_from)
    )
    finest = _GRID_DEG / 2 ** (run.last["healpix_order"] + run.last["adaptive_oversampling"])
    return (
        f"Orientations were searched on HEALPix grids {healpix} from a step of {begins:g}° on, "
        f"locally from {turns_local:g}° on, down to {finest:.2g}° in the last of "
        f"{run.last['iteration']} iterations."
    )


def _references(run: RunFacts, blush: str) -> str:
    settings = run.settings
    if not blush:
        return (
            f"References were regularized by {run.regularizer or settings.regularizer} "
            f"(T = {settings.tau2_fudge:g})."
        )
    trailing = (
        f"and were cut off {settings.trailing_shells} shells short of where the FSC between the "
        "half-maps falls below 0.143"
        if settings.spectral_trailing
        else "and were not cut off where the half-maps cease to agree"
    )
    if settings.spectral_trailing and settings.trailing_fill:
        trailing += ", beyond which the Wiener-filtered maps took over"
    strength = (
        ""
        if settings.denoiser_strength == 1.0
        else f" They were mixed with the Wiener-filtered maps, {settings.denoiser_strength:g} to "
        f"{1 - settings.denoiser_strength:g}."
    )
    when = "After each iteration"
    if settings.denoise_from is not None:
        marks = ("cutoff_shell", "denoiser_nyquist_shell")
        if all(line.get(mark) is None for line in run.history for mark in marks):
            return (
                f"References were Wiener-filtered maps (T = {settings.tau2_fudge:g}): the "
                f"half-maps never agreed to {settings.denoise_from:g} Å, from where on they would "
                f"have been denoised by a network (Blush regularization {blush})."
            )
        when += f" that reached at least {settings.denoise_from:g} Å"
    return (
        f"{when} both half-maps were denoised by a network (Blush regularization "
        f"{blush}; {_short(run.regularizer)}). The denoised maps were references for the "
        f"alignment of the next iteration {trailing}.{strength} Half-maps, FSC "
        "and final map were never denoised."
    )


def _short(regularizer: str) -> str:
    """Return a regularizer with the beginning of its checksum, which tells weights apart."""
    return re.sub(r"(sha256 [0-9a-f]{12})[0-9a-f]+", r"\1", regularizer)


def _steering(run: RunFacts) -> list[str]:
    if not run.changes:
        return []
    said = "; ".join(f"iteration {iteration}: {what}" for iteration, what, _ in run.changes)
    return [f"While the run went on, settings were changed ({said})."]
