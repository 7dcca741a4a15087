"""Lights and drawings of what a denoiser changes, and of how steadily it does.

Thresholds. A run takes some twenty iterations. Where images are too noisy to object, what a pass
multiplies by more than 1.05 in power has grown by e (2.7) at the end: red; half of that is yellow.
Below 1 the same holds for what fades. A denoised map that depends on how it lies on the grid, or on
the weights, as much as on which half of the particles it is from (ratio 1) holds as much of the
network as of noise: red; half of that is yellow. Neither was set on a data set.
"""

from collections.abc import Sequence

import torch

from napari_blush.conventions import Spectrum
from napari_blush.validation.denoiser_stability import Deviation, Recycling, ShellChange
from napari_blush.validation.lights import Check, Light, light_of
from napari_blush.validation.report_page import Curve, Plot, Section, drawn
from napari_blush.validation.report_sections import fsc_plot

_GROWTH = (1.025, 1.05)
_BY_HALVES = (0.5, 1.0)
_CONFIRMED = (-0.02, -0.05)
_AXIS = "resolution in Å"


def recycling_check(found: Recycling) -> Check:
    """Judge what the last of several passes did to the power inside the mask."""
    factor = max(found.growth, 1 / max(found.growth, 1e-6))
    light = light_of(factor, yellow=_GROWTH[0], red=_GROWTH[1])
    text = {
        Light.GREEN: "Denoised again and again the map stays what it is.",
        Light.YELLOW: "Each pass changes the map a little more: keep spectral trailing on.",
        Light.RED: "Each pass changes the map further: the network runs away from the data where "
        "they are weak; take other weights.",
    }[light]
    passes = len(found.power)
    value = f"{found.growth:.3f} in pass {passes}"
    return Check("power when recycled", value, light, text)


def deviation_check(name: str, found: Sequence[Deviation]) -> Check:
    """Judge the worst of some other makings of a denoised map."""
    worst = max(found, key=lambda each: each.by_halves)
    light = light_of(worst.by_halves, yellow=_BY_HALVES[0], red=_BY_HALVES[1])
    text = {
        Light.GREEN: "It matters far less than which half of the particles was taken",
        Light.YELLOW: "It matters half as much as which half of the particles was taken",
        Light.RED: "It matters as much as which half of the particles was taken: details of the "
        "denoised map are the network's",
    }[light]
    value = f"{worst.by_halves:.2f}"
    return Check(
        name, value, light, f"{text} (at most {100 * worst.share:.1f} % of the map, {worst.name})."
    )


def confirmation_check(as_given: Spectrum, denoised: Spectrum, last_shell: int) -> Check:
    """Judge whether denoising brings a half-map nearer to the data of the other half.

    Parameters
    ----------
    as_given, denoised : (n // 2 + 1,)
        FSC of the raw other half with the raw and with the denoised half.
    last_shell : int
        The last that is looked at: where references end.
    """
    looked = slice(1, max(2, last_shell + 1))
    gain = float((denoised[looked] - as_given[looked]).mean())
    light = light_of(gain, yellow=_CONFIRMED[0], red=_CONFIRMED[1])
    text = {
        Light.GREEN: "Denoised, a half-map agrees no worse with the raw data of the other half.",
        Light.YELLOW: "Denoised, a half-map agrees a little worse with the raw other half.",
        Light.RED: "Denoised, a half-map agrees worse with the raw other half: signal is lost or "
        "painted over; take other weights.",
    }[light]
    return Check("nearer to the other half", f"{gain:+.3f}", light, text)


def change_plot(change: ShellChange, voxel_size: float, marks: dict[str, int] | None = None) -> str:
    """Return amplitudes and phases of a denoised map beside the given one, as SVG."""
    n_shells = len(change.fsc)
    x = [shell / (2 * (n_shells - 1) * voxel_size) for shell in range(n_shells)]
    curves = [
        Curve("amplitude, denoised by given", x, change.amplitude.double().tolist()),
        Curve("FSC, denoised with given", x, change.fsc.double().tolist()),
        Curve("phase change by 90°", x, (change.phase_deg.double() / 90).tolist()),
    ]
    at = {name: x[min(shell, n_shells - 1)] for name, shell in (marks or {}).items()}
    return drawn(
        Plot(curves, _AXIS, "change", (0.0, 1.2), levels={"1": 1.0}, marks=at, angstrom=True)
    )


def stability_section(
    recycled: Recycling,
    moves: Sequence[Deviation],
    weights: Sequence[Deviation],
    voxel_size: float,
    marks: dict[str, int] | None = None,
) -> Section:
    """Return recycling, movements and other weights with their curves.

    Parameters
    ----------
    recycled : Recycling
    moves, weights : sequence of Deviation
        The former not empty.
    voxel_size : float
        Angstrom.
    marks : dict of str to int, optional
        Shells to be marked in the curves.
    """
    checks = [recycling_check(recycled), deviation_check("movements of the block grid", moves)]
    if weights:
        checks.append(deviation_check("other weights", weights))
    passes = range(1, len(recycled.power) + 1)
    power = drawn(
        Plot(
            [
                Curve("inside the mask", list(passes), recycled.power.tolist()),
                Curve("solvent", list(passes), recycled.solvent_power.tolist(), dashed=True),
            ],
            "pass",
            "power by that of the given map",
            y_range=(0.0, max(1.2, 1.05 * float(recycled.power.max()))),
        )
    )
    with_given: dict[str, Spectrum | None] = {
        f"given with pass {number}": recycled.fsc[number - 1]
        for number in sorted({1, 2, len(recycled.power)})
    }
    family = torch.stack([each.fsc for each in moves])
    among: dict[str, Spectrum | None] = {"as it is with moved, mean": family.mean(dim=0)}
    among |= {f"with {each.name}": each.fsc for each in weights}
    shade = {"as it is with moved, mean": (family.amin(dim=0), family.amax(dim=0))}
    notes = [
        "Power inside the mask after each pass: "
        + ", ".join(f"{value:.3f}" for value in recycled.power.tolist())
        + "; in the solvent "
        + ", ".join(f"{value:.3f}" for value in recycled.solvent_power.tolist())
        + ".",
        "Difference after a movement, by the map: "
        + ", ".join(f"{each.name} {100 * each.share:.1f} %" for each in moves)
        + ".",
    ]
    drawings = [
        power,
        fsc_plot(with_given, voxel_size, marks=marks),
        fsc_plot(among, voxel_size, marks=marks, shades=shade),
    ]
    return Section("Steadiness of the denoiser", checks, drawings, notes)
