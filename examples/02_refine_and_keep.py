"""Refine particles, keep every iteration, and go on with the run later.

The events of a run are all there is to know of it: print them, draw them, keep them.
"""

from pathlib import Path

from napari_blush import (
    IterationFinished,
    RefinementSettings,
    RunKeeper,
    RunWriter,
    last_state,
    read_map,
    read_particles,
    run,
)

SAMPLE = Path(__file__).parents[1] / "sample_data"


def main(output: Path, max_iterations: int = 30) -> None:
    """Refine the sample data into a run folder, or go on with the run that it holds."""
    particles = read_particles(SAMPLE / "particles.star")
    start_map = read_map(SAMPLE / "start_map.mrc")
    settings = RefinementSettings(
        particle_diameter=160, initial_low_pass=40, max_iterations=max_iterations
    )
    resume = (output / "settings.yaml").exists()
    with RunWriter(output, settings, particles, resume=resume) as writer:
        keep = RunKeeper(writer)
        for event in run(
            settings,
            particles,
            (start_map.volume, start_map.voxel_size),
            resume_from=last_state(output) if resume else None,
        ):
            keep(event)
            if isinstance(event, IterationFinished):
                result = event.result
                print(f"{result.iteration:3d} {result.resolution_angstrom:6.2f} A")


if __name__ == "__main__":
    main(Path("run1"))
