r"""Einstein from noise: what a start map alone makes of images that hold nothing.

As many images of pure noise as there are particles, with the noise spectra, backgrounds and CTFs of
a run, are refined against the same start map. Aligned noise looks like what it was aligned to [1]_.

The verdict. *Explained by noise* is the area under the half-map FSC of the noise by that of the
run, from the first shell that neither the halves share nor the low-passed start map reaches, to the
run's resolution: from a half on there is as much agreement of noise as of signal (red), half of
that is yellow. *Reference out of noise*
is the FSC of the noise's map with the start map beyond the low-pass that the run began with: 0.5
there is 0.143 between halves (:math:`\sqrt{2F / (1 + F)}`), and half of that agreement is 0.365.

References
----------
.. [1] Henderson (2013), PNAS 110, 18037; Shatsky et al. (2009), J. Struct. Biol. 166, 67.
"""

from dataclasses import dataclass, replace
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from napari_blush.conventions import FSC_GOLD_STANDARD, ImageStack, Spectrum, Volume
from napari_blush.data_model.particles import ImageSource, Particles
from napari_blush.errors import SettingsError
from napari_blush.numerics.correlation import resolution_at, resolution_shell
from napari_blush.numerics.masks import background_statistics
from napari_blush.simulation.noise import draw_noise, noise_power
from napari_blush.validation.lights import Check, Light, light_of
from napari_blush.validation.overfitting import standard_errors
from napari_blush.validation.report_page import Section
from napari_blush.validation.report_sections import fsc_plot

_EXPLAINED = (0.25, 0.5)
_REFERENCE = (0.365, 0.5)
_EDGE = 1
"""Shells beyond its low-pass that the start map still reaches."""

_RUN = 3
_SIGMAS = 2.0


@dataclass(frozen=True, slots=True)
class NoiseImages:
    """An ``ImageSource`` of noise with the backgrounds of other images.

    Parameters
    ----------
    images : ImageSource
        Whose mean and standard deviation outside the particle each image takes.
    group : (n,) int64
        Row of ``power`` of each image.
    power : (g, n, n // 2 + 1)
        Of the noise, from ``simulation.noise.noise_power``.
    radius_px : float
        Of the particle.
    seed : int
        With the image's number decides its noise.
    """

    images: ImageSource
    group: Tensor
    power: Float[Tensor, "g n half"]
    radius_px: float
    seed: int = 0

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def read(self, indices: Tensor) -> ImageStack:
        """Read images; ``indices (b,)`` int64 to ``(b, n, n)`` float32 on the CPU."""
        given = self.images.read(indices)
        if not len(indices):
            return given
        mean, std = background_statistics(given, self.radius_px)
        made = torch.cat(
            [
                draw_noise(self.seed, [index], self.power[int(self.group[index])])
                for index in indices.tolist()
            ]
        )
        return mean[:, None, None] + std[:, None, None] * made


def noise_particles(
    particles: Particles, spectra: Float[Tensor, "g shells"], diameter: float, seed: int = 0
) -> Particles:
    """Return the same particles with nothing in their images.

    Parameters
    ----------
    particles : Particles
    spectra : (g, n // 2 + 1)
        Power of the noise of each optics group, up to a factor, by shell.
    diameter : float
        Angstrom; what is farther from the middle is background.
    seed : int

    Raises
    ------
    SettingsError
        When spectra are not one for each optics group.
    """
    groups = particles.optics_groups
    if len(spectra) != len(groups):
        raise SettingsError(
            f"Given {len(spectra)} noise spectra for {len(groups)} optics groups; wanted one for "
            "each; give the run that refined these particles."
        )
    power = []
    for group, spectrum in zip(groups, spectra.double(), strict=True):
        # Of the mean of an image nothing is known that the background does not say.
        known = torch.cat([spectrum[1:2], spectrum[1:]])

        def of_frequency(
            frequency: Tensor,
            known: Tensor = known,
            length: float = group.box_size * group.pixel_size,
        ) -> Tensor:
            return known[(frequency * length).round().long().clamp(max=len(known) - 1)]

        power.append(noise_power(of_frequency, group.box_size, group.pixel_size))
    radius = min(diameter / 2, 0.49 * groups[0].box_size * groups[0].pixel_size)
    images = NoiseImages(
        particles.images,
        particles.optics_group_index,
        torch.stack(power),
        radius / groups[0].pixel_size,
        seed,
    )
    return replace(particles, images=images)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a refinement ended with: FSC between its halves, and of its map with the start map.

    Best between halves without a mask: one that is drawn around noise makes it agree.
    """

    between_halves: Spectrum
    with_reference: Spectrum


@dataclass(frozen=True, slots=True)
class BiasVerdict:
    """A run beside its twin of pure noise.

    Parameters
    ----------
    run, noise : Agreement
    explained : float
        Area under the noise's half-map FSC by that under the run's; infinite where the run's halves
        agree in no shell of their own, beyond what they share and the start map reaches.
    reference_excess : float
        Highest mean over three shells of the noise's FSC with the start map, less twice its
        standard error, beyond the low-pass; 0 where no shell is left.
    shared_shell, low_pass_shell : int
    checks : tuple of Check
    """

    run: Agreement
    noise: Agreement
    explained: float
    reference_excess: float
    shared_shell: int
    low_pass_shell: int
    checks: tuple[Check, ...]


def bias_verdict(
    run: Agreement,
    noise: Agreement,
    voxel_size: float,
    *,
    shared_shell: int,
    low_pass_shell: int,
    mask: Volume | None = None,
) -> BiasVerdict:
    """Judge a run by what the same refinement makes of noise.

    Parameters
    ----------
    run, noise : Agreement
        Curves of ``n // 2 + 1`` shells each.
    voxel_size : float
        Angstrom.
    shared_shell : int
        Last shell that both halves share by construction.
    low_pass_shell : int
        Last shell that the start map was left with.
    mask : (n, n, n), optional
        The one that the curves with the start map were made in.
    """
    last = resolution_shell(run.between_halves, FSC_GOLD_STANDARD)
    own = slice(max(shared_shell, low_pass_shell + _EDGE) + 1, last + 1)
    area = float(run.between_halves[own].clamp(min=0).sum())
    of_noise = float(noise.between_halves[own].clamp(min=0).sum())
    explained = of_noise / area if area > 0 else float("inf")
    n_shells = len(run.between_halves)
    first = low_pass_shell + _EDGE + 1
    beyond = noise.with_reference[first:]
    excess = 0.0
    if len(beyond) >= _RUN:
        error = standard_errors(2 * (n_shells - 1), mask)[first:] / sqrt(_RUN)
        runs = beyond.unfold(0, _RUN, 1).mean(dim=1) - _SIGMAS * error[: len(beyond) - _RUN + 1]
        excess = max(0.0, float(runs.max()))
    checks = (
        _explained_check(explained, run.between_halves, noise.between_halves, voxel_size),
        _reference_check(excess),
    )
    return BiasVerdict(run, noise, explained, excess, shared_shell, low_pass_shell, checks)


def _explained_check(
    explained: float, of_run: Spectrum, of_noise: Spectrum, voxel_size: float
) -> Check:
    light = light_of(explained, yellow=_EXPLAINED[0], red=_EXPLAINED[1])
    box = 2 * (len(of_run) - 1)
    found = [resolution_at(each, FSC_GOLD_STANDARD, box, voxel_size) for each in (of_run, of_noise)]
    text = {
        Light.GREEN: "Noise aligned to the same start map gives no such agreement.",
        Light.YELLOW: "A part of the agreement comes as well from noise: start from a coarser map.",
        Light.RED: "Noise gives as much: what the halves agree on is the start map; the particles "
        "may hold nothing.",
    }[light]
    value = f"{100 * explained:.0f} %" if explained < float("inf") else "all"
    text = f"{text} Unmasked, the run ends at {found[0]:.2f} A, noise at {found[1]:.2f} A."
    return Check("explained by noise", value, light, text)


def _reference_check(excess: float) -> Check:
    light = light_of(excess, yellow=_REFERENCE[0], red=_REFERENCE[1])
    text = {
        Light.GREEN: "Beyond its low-pass the start map does not come back out of noise.",
        Light.YELLOW: "Details of the start map begin to come back out of noise.",
        Light.RED: "Details of the start map come back out of noise: low-pass it further.",
    }[light]
    return Check("reference out of noise", f"{excess:.2f}", light, text)


def bias_section(verdict: BiasVerdict, voxel_size: float, notes: tuple[str, ...] = ()) -> Section:
    """Return both refinements' curves, between halves and with the start map."""
    halves = fsc_plot(
        {"run": verdict.run.between_halves, "noise": verdict.noise.between_halves},
        voxel_size,
        dashed=("noise",),
        marks={"shared": verdict.shared_shell},
    )
    reference = fsc_plot(
        {"run with start map": verdict.run.with_reference, "noise": verdict.noise.with_reference},
        voxel_size,
        levels={"0.5": 0.5},
        dashed=("noise",),
        marks={"low-pass": verdict.low_pass_shell},
    )
    return Section("Pure noise and the same start map", verdict.checks, [halves, reference], notes)
