"""Change a run while it goes on: what is proposed takes effect at the next iteration.

The window's *Apply changed settings* does the same.
"""

from pathlib import Path

from napari_blush import (
    ChangeSettings,
    FinishNow,
    IterationFinished,
    Message,
    RefinementSettings,
    Steering,
    read_map,
    read_particles,
    run,
)

SAMPLE = Path(__file__).parents[1] / "sample_data"


def main(last: int = 6) -> None:
    """Refine the sample data, change the prior after one iteration, end after some."""
    particles = read_particles(SAMPLE / "particles.star")
    start_map = read_map(SAMPLE / "start_map.mrc")
    settings = RefinementSettings(particle_diameter=160, initial_low_pass=40)
    steering = Steering()
    for event in run(
        settings, particles, (start_map.volume, start_map.voxel_size), steering=steering
    ):
        match event:
            case Message(text=text):
                print(text)  # also what became of a change
            case IterationFinished(result=result):
                print(f"{result.iteration:3d} {result.resolution_angstrom:6.2f} A")
                if result.iteration == 1:
                    steering.propose(ChangeSettings({"regularizer": "smoothness"}))
                if result.iteration == last - 1:
                    steering.propose(FinishNow())


if __name__ == "__main__":
    main()
