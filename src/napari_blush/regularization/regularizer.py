"""What every regularizer is given and gives back.

A regularizer turns the reconstructions of an iteration into the references of the next. It is
*given* the FSC, which was computed before it: it can use the resolution and cannot feed it.
It may take long, so it is a generator: between two of its steps a run can be paused or cancelled.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from napari_blush.data_model.half_maps import HalfMaps


@dataclass(frozen=True, slots=True)
class RegularizationInput:
    """The reconstructions of one iteration.

    Parameters
    ----------
    unfiltered : HalfMaps
        Without regularisation (symmetrised, joined at low resolution).
    wiener : HalfMaps
        Wiener-filtered with the FSC-derived signal power: the baseline references.
    fsc : (shells,) float32
        The curve that drives the run, zero beyond the resolution limit of the iteration.
    mask : (n, n, n) float32 or None
        Solvent mask, if the user gave one.
    particle_diameter : float
        Angstrom.
    symmetry_operators : (g, 3, 3) float64
    shared_shell : int
        Last shell whose data the halves share (the low-resolution join), -1 for none: they agree
        there whatever the FSC says.
    reference_masks : two (n, n, n) float32, or None
        What the references will be multiplied by; an automatic one is of its own half only.
    """

    unfiltered: HalfMaps
    wiener: HalfMaps
    fsc: Tensor
    mask: Tensor | None
    particle_diameter: float
    symmetry_operators: Tensor
    shared_shell: int = -1
    reference_masks: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, slots=True)
class RegularizationProgress:
    """How far a regularizer has come: ``done`` from 0 to 1, and what it is doing, in words."""

    done: float
    what: str


@dataclass(frozen=True, slots=True)
class Regularized:
    """References for the next iteration, and how they came about.

    ``cutoff_shell`` is the shell beyond which the regularizer let nothing of its own through
    (spectral trailing), None where it does not apply; ``automatic_cutoff_shell`` is what the FSC
    alone asks for, and ``denoiser_nyquist_shell`` how far a denoiser can see; ``denoised`` are maps
    *for alignment only*; ``messages`` are told to the person who follows the run.
    """

    references: tuple[Tensor, Tensor]
    cutoff_shell: int | None = None
    denoised: tuple[Tensor, Tensor] | None = None
    messages: tuple[str, ...] = ()
    automatic_cutoff_shell: int | None = None
    denoiser_nyquist_shell: float | None = None


@runtime_checkable
class Regularizer(Protocol):
    """A way from reconstructions to references."""

    @property
    def name(self) -> str:
        """Name as in the settings."""
        ...

    def regularize(
        self, given: RegularizationInput
    ) -> Generator[RegularizationProgress, None, Regularized]:
        """Yield progress; return the references of the next iteration.

        They are ``(n, n, n)`` float32 on the CPU. What is given belongs to the run and must not
        be changed in place. The generator is closed when the run is cancelled.
        """
        ...


def origin(regularizer: Regularizer) -> str:
    """Return what is kept with a run of what made its references: ``name`` or ``name (detail)``.

    The detail, such as weights and their checksum, is an attribute ``provenance`` of the
    regularizer, a line of text; it may be missing.
    """
    detail = str(getattr(regularizer, "provenance", ""))
    return f"{regularizer.name} ({detail})" if detail else regularizer.name
