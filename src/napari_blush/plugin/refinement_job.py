"""A refinement from files to a run folder, as events; loaded where it computes."""

from collections.abc import Generator
from pathlib import Path

from napari_blush.data_model.particles import Particles
from napari_blush.data_model.results import RefinementResult
from napari_blush.errors import RefinementError
from napari_blush.io.cryosparc import read_cryosparc
from napari_blush.io.mrc import read_map
from napari_blush.io.run_settings import RunSource
from napari_blush.io.star import read_particles
from napari_blush.plugin.job_description import JobDescription
from napari_blush.refine.events import Message, RunFinished
from napari_blush.refine.keeping import RunKeeper
from napari_blush.refine.reopening import past_of
from napari_blush.refine.run_in_folder import RunRequest, opened
from napari_blush.refine.steering import Steering
from napari_blush.session import SessionEvent


def refinement_events(
    job: JobDescription, steering: Steering
) -> Generator[SessionEvent, None, RefinementResult]:
    """Read the files of a job, refine, and write each event that is worth it before telling it.

    A run that goes on begins with its past.

    The run folder is held until the generator ends or is closed.

    Raises
    ------
    BlushError
        In one sentence, when a file cannot be read or the run cannot start or go on.
    """
    request = RunRequest(
        particles=particles_of(job.particles),
        reference=read_map(job.reference) if job.branch_from is None else None,
        output=job.output,
        settings=job.settings,
        source=RunSource(job.particles, job.reference),
        resume=job.resume,
        branch_from=job.branch_from,
    )
    with opened(request, steering) as (writer, events):
        if job.branch_from is not None:
            yield past_of(*job.branch_from)
        elif job.resume:
            yield past_of(job.output)
        for text in writer.messages:
            yield Message(text)
        keeper = RunKeeper(writer)
        for event in events:
            keeper(event)
            yield event
            if isinstance(event, RunFinished):
                return event.result
    raise RefinementError("The run ended without a result; continue it from its run folder.")


def particles_of(path: Path) -> Particles:
    """Read a RELION STAR file or, by its suffix, a CryoSPARC ``.cs`` file."""
    return read_cryosparc(path) if path.suffix == ".cs" else read_particles(path)
