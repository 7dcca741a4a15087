"""What can be said of a file before a run, by its name and its first bytes; no tensor library."""

from collections.abc import Collection
from pathlib import Path

from napari_blush.errors import BlushError
from napari_blush.io.mrc_header import read_header

_OF_A_RUN = "run_*"
"""Files that a run has written."""

_IMAGE_COLUMN = "_rlnImageName"


def problem_of_map(path: Path) -> str:
    """Return why a file is no map for a refinement, as a sentence; empty when it may be one."""
    try:
        sections, rows, columns = read_header(path).shape
    except BlushError as error:
        return str(error)
    if not sections == rows == columns > 1:
        return f"{columns} x {rows} x {sections} voxels; wanted a cube."
    if columns % 2:
        return f"{columns} voxels along an edge; wanted an even number."
    return ""


def edge_of_map(path: Path | None) -> float | None:
    """Return how wide a map is in angstrom, None where that cannot be told."""
    try:
        header = None if path is None else read_header(path)
    except BlushError:
        return None
    if header is None or header.grid[0] <= 0 or header.cell_angstrom[0] <= 0:
        return None
    return header.shape[-1] * header.cell_angstrom[0] / header.grid[0]


def problem_of_diameter(diameter: float | None, edge: float | None) -> str:
    """Return why a particle does not fit into a box, both in angstrom; empty when it may."""
    if diameter is None or edge is None or diameter < edge:
        return ""
    return (
        f"{diameter:g} Å was given, and the start map is {edge:g} Å wide; wanted less; enter the "
        "largest extent of the particle."
    )


def problem_of_helix(value: float | None, what: str, *, is_wanted: bool) -> str:
    """Return why a twist or a rise may not be missing, as a sentence; empty when it may.

    Parameters
    ----------
    value : float or None
    what : str
        ``twist in deg`` or ``rise in Å``.
    is_wanted : bool
        The other one is given, or a filament is to be refined.
    """
    if value is not None or not is_wanted:
        return ""
    return f"Nothing was given; wanted the {what} from one unit of the filament to the next."


def problem_of_particles(path: Path) -> str:
    """Return why a file is no table of particles, as a sentence; empty when it may be one."""
    if path.suffix.lower() == ".cs" or names_images(path):
        return ""
    return "It names no images; wanted particles: RELION .star or CryoSPARC .cs."


def problem_of_run_folder(path: Path | None, *, goes_on: bool) -> str:
    """Return why a run cannot begin, or go on, in a folder, as a sentence; empty when it can."""
    if path is None or goes_on or not path.exists():
        return ""
    if not path.is_dir():
        return f"{path} is a file; wanted a folder; one that is not there is made."
    if any(path.glob(_OF_A_RUN)):
        return f"{path.name} holds a run already; choose another folder, or go on with that run."
    return ""


def problem_of_weights(text: str, names: Collection[str]) -> str:
    """Return why a text stands for no weights, as a sentence; empty when it may be a file's."""
    if text in names or Path(text).expanduser().is_file():
        return ""
    return f"{text!r} is neither a file nor one of: {', '.join(names)}."


def names_images(path: Path) -> bool:
    """Return whether a STAR file has a column of images; reads it as text, which is quick."""
    try:
        with path.open(errors="replace") as lines:
            return any(line.split()[:1] == [_IMAGE_COLUMN] for line in lines if line[:1] == "_")
    except OSError:
        return False
