"""What the validations share: half-maps and masks in, a table and a page out."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from napari_blush.cli.report import Report
from napari_blush.conventions import Spectrum, Volume
from napari_blush.errors import MrcFileError, RunFolderError
from napari_blush.io.atomic import reason_of, write_bytes
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.numerics.masks import soft_mask_from_volume
from napari_blush.regularization.spectral_trailing import cutoff_shell
from napari_blush.validation.lights import table_lines, worst_light
from napari_blush.validation.report_page import Section, page

T = TypeVar("T")
PAGE_NAME = "report.html"
_SAME_SIZE = 1e-3  # relative: what two headers may differ by rounding


@dataclass(frozen=True, slots=True)
class HalfMapFiles:
    """Two half-maps as read, and the mask, drawn where none was given."""

    half1: MapFile
    half2: MapFile
    mask: Volume
    mask_is_given: bool

    @property
    def volumes(self) -> tuple[Volume, Volume]:
        """The maps themselves."""
        return self.half1.volume, self.half2.volume

    @property
    def voxel_size(self) -> float:
        """Angstrom."""
        return self.half1.voxel_size

    @property
    def average(self) -> Volume:
        """Their mean."""
        return (self.half1.volume + self.half2.volume) / 2


def read_halves(
    path1: Path, path2: Path, voxel_size: float | None, mask: Path | None
) -> HalfMapFiles:
    """Read two half-maps of one refinement, and a mask or draw one.

    Raises
    ------
    MrcFileError
        When the maps, or the mask, do not share a box and a voxel size.
    """
    half1 = read_map(path1, voxel_size=voxel_size)
    half2 = read_map(path2, voxel_size=voxel_size)
    check_alike(path1, half1, path2, half2)
    if mask is None:
        average = (half1.volume + half2.volume) / 2
        return HalfMapFiles(half1, half2, soft_mask_from_volume(average, half1.voxel_size), False)
    return HalfMapFiles(half1, half2, read_mask(mask, path1, half1), True)


def read_mask(path: Path, of: Path, given: MapFile) -> Volume:
    """Read a mask on the grid of a map."""
    mask = read_map(path, voxel_size=given.voxel_size)
    check_alike(of, given, path, mask)
    return mask.volume.clamp(0, 1)


def check_alike(path1: Path, map1: MapFile, path2: Path, map2: MapFile) -> None:
    """Refuse maps that are not on one grid."""
    same_box = map1.volume.shape == map2.volume.shape
    if same_box and abs(map1.voxel_size / map2.voxel_size - 1) < _SAME_SIZE:
        return
    raise MrcFileError(
        f"{path1} has {map1.volume.shape[-1]} voxels of {map1.voxel_size:g} A and {path2} "
        f"{map2.volume.shape[-1]} of {map2.voxel_size:g} A; wanted one grid; check the paths."
    )


def trailing_mark(corrected: Spectrum) -> dict[str, int]:
    """Return where spectral trailing ends denoised references at this FSC, as a mark of a plot."""
    return {"trailing": cutoff_shell(corrected.cpu())}


def shown(report: Report, stage: str, steps: Generator[float, None, T]) -> T:
    """Run steps to their end with their progress on the terminal; return what they return."""
    with closing(steps):
        while True:
            try:
                done = next(steps)
            except StopIteration as finished:
                report.progress.close()
                made: T = finished.value
                return made
            report.progress.update(stage, round(1000 * done), 1000)


def make_folder(folder: Path) -> None:
    """Make the folder of the output."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunFolderError(f"Cannot make {folder}: {reason_of(problem)}") from problem


def finish(
    report: Report,
    folder: Path,
    title: str,
    sections: Sequence[Section],
    written: Sequence[Path] = (),
) -> int:
    """Print tables and notes, write the page; return the exit code, 0 whatever was found."""
    for section in sections:
        light = worst_light(section.checks).word if section.checks else "no light"
        report.line(f"{section.title}: {light}")
        for line in (*table_lines(section.checks), *section.notes):
            report.line(f"  {line}")
    target = folder / PAGE_NAME
    write_bytes(target, page(title, sections).encode(), RunFolderError)
    for path in (*written, target):
        report.line(f"Wrote {path}")
    return 0
