"""A run and the folder that it writes to, opened together and given back together."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.results import RefinementResult
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import RefinementError
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.io.run_folder import RunWriter
from napari_blush.io.run_settings import RunSource
from napari_blush.io.run_state import last_whole_iteration
from napari_blush.refine.events import RefinementEvent
from napari_blush.refine.going_on import GoingOn, branch_of, start_of
from napari_blush.refine.run import run
from napari_blush.refine.steering import Steering


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run and where it is to be written.

    Parameters
    ----------
    particles : Particles
    reference : MapFile or None
        Start map; a branch has that of its iteration.
    output : Path
    settings : RefinementSettings
    source : RunSource
        Files that all this came from.
    resume : bool
        Go on with what ``output`` holds.
    branch_from : (Path, int) or None
        Go on from this iteration of the run in this other folder.
    """

    particles: Particles
    reference: MapFile | None
    output: Path
    settings: RefinementSettings
    source: RunSource
    resume: bool = False
    branch_from: tuple[Path, int] | None = None


@contextmanager
def opened(
    request: RunRequest, steering: Steering | None = None
) -> Iterator[tuple[RunWriter, Generator[RefinementEvent, None, RefinementResult]]]:
    """Yield the writer of a run and its events; both are closed in every case.

    Raises
    ------
    BlushError
        When the folder cannot be written to, or the run cannot begin or go on.
    """
    begun = begun_branch(request)
    source = replace(request.source, branched_from=request.branch_from)
    with RunWriter(
        request.output,
        request.settings,
        request.particles,
        resume=request.resume,
        source=source,
    ) as writer:
        going = begun or start_of(request.output, request.settings, resume=request.resume)
        mask = going.settings.solvent_mask
        read = None if mask is None else read_map(mask)
        events = run(
            going.settings,
            request.particles,
            start_map(request, going),
            mask=None if read is None else (read.volume, read.voxel_size),
            resume_from=going.state,
            branched=going.changes if going.is_branch else None,
            steering=steering,
        )
        with closing(events):
            yield writer, events


def begun_branch(request: RunRequest) -> GoingOn | None:
    """Return how a branch begins; None for no branch, and for one that has whole iterations."""
    if request.branch_from is None:
        return None
    if request.resume and last_whole_iteration(request.output) is not None:
        return None
    return branch_of(*request.branch_from, request.settings, request.particles)


def start_map(request: RunRequest, going: GoingOn) -> tuple[Tensor, float]:
    """Return the start map, or what stands for it where a run goes on."""
    if request.reference is not None:
        return request.reference.volume, request.reference.voxel_size
    if going.state is None:
        raise RefinementError("No start map was given; wanted one; choose a map to align to first.")
    pixel_size = request.particles.optics_groups[0].pixel_size
    return going.state.models[0].reference, pixel_size
