"""Two compared runs as sections of a page, and their curves as a picture of its own."""

from html import escape

from napari_blush.conventions import FSC_AGAINST_TRUTH, FSC_GOLD_STANDARD, Spectrum
from napari_blush.validation.report_page import Curve, Plot, Section, drawn
from napari_blush.validation.run_comparison import JudgedRun, RunComparison
from napari_blush.validation.slice_pictures import central_slices, gray_pictures

_STYLE = "<style>text{font:12px system-ui,sans-serif;fill:#444}</style>"
_PAPER = '<rect width="100%" height="100%" fill="#fff"/>'


def comparison_sections(found: RunComparison) -> list[Section]:
    """Return what the second run is by the first, then each run by itself."""
    both = Section(
        f"{found.second.run.name} by {found.first.run.name}",
        found.checks,
        [curves_of(found), slices_of(found)],
        [*found.notes, _reading(found)],
    )
    return [both, *(Section(one.run.name, one.report.checks) for one in _runs(found))]


def curves_of(found: RunComparison) -> str:
    """Return the curves of both runs as SVG: half-maps, dashed with the known density."""
    curves, marks = [], {}
    for one in _runs(found):
        name, size = one.run.name, one.run.voxel_size
        curves.append(_curve(f"{name}: half-maps", one.report.resolution.fsc.corrected, size))
        if one.run.cutoff_shell is not None:
            edge = one.run.half1.shape[-1] * size
            marks[f"{name} cut off"] = one.run.cutoff_shell / edge
    for place, one in enumerate(_runs(found)):
        if one.against is not None:
            name, size = one.run.name, one.run.voxel_size
            curves.append(_curve(f"{name}: known density", one.against.fsc, size, like=place))
    levels = {"0.143": FSC_GOLD_STANDARD, "0.5": FSC_AGAINST_TRUTH}
    return drawn(Plot(curves, "resolution in Å", "FSC", levels=levels, marks=marks, angstrom=True))


def picture_of(found: RunComparison) -> str:
    """Return the curves as an SVG file that stands alone, on white paper."""
    text = curves_of(found)
    head = text.index(">") + 1
    return f"{text[:head]}{_STYLE}{_PAPER}{text[head:]}\n"


def slices_of(found: RunComparison) -> str:
    """Return the middle slices of both maps, in the same grays."""
    slices = [central_slices(one.run.average) for one in _runs(found)]
    addresses = gray_pictures([each for row in slices for each in row])
    n = len(slices[0])
    rows = []
    for place, one in enumerate(_runs(found)):
        pictures = "".join(
            f'<img alt="slice" width="180" src="{address}"/> '
            for address in addresses[place * n : (place + 1) * n]
        )
        rows.append(f"{escape(one.run.name)}<br/>{pictures}")
    return "<br/>".join(rows)


def _runs(found: RunComparison) -> tuple[JudgedRun, JudgedRun]:
    return found.first, found.second


def _reading(found: RunComparison) -> str:
    text = (
        "Curves: FSC of the half-maps, corrected for the mask; slices: means of the half-maps, "
        "unfiltered, across z, y and x."
    )
    if found.first.against is not None:
        text += (
            " Dashed: FSC with the known density; where a solid curve reaches F, a map whose "
            "halves are right reaches sqrt(2 F / (1 + F)), above it."
        )
    return text


def _curve(name: str, fsc: Spectrum, voxel_size: float, *, like: int | None = None) -> Curve:
    edge = 2 * (len(fsc) - 1) * voxel_size
    x = [shell / edge for shell in range(len(fsc))]
    return Curve(name, x, fsc.double().tolist(), dashed=like is not None, like=like)
