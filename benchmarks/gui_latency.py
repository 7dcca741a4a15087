"""How long the window stands still while a run streams maps into it, and whether memory grows.

A real napari with the Refine dock, fed by made-up events through the same thread, controller and
session as a real run. A clock in the event loop ticks every 5 ms; what lies between two ticks
beyond that is time in which a person's click would have waited. Drawing (rendering and texture
uploads, which a graphics card does and software rendering does slowly) is measured apart. Needs a
display; without one: ``xvfb-run python benchmarks/gui_latency.py``.
"""

import argparse
import importlib
import os
import resource
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ["NAPARI_CONFIG"] = ""  # the settings of a person are neither read nor written

import napari
import numpy as np
import torch
from measuring.tables import Row, markdown, write_table
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QApplication

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import (
    Accuracy,
    FscCurves,
    IterationResult,
    PoseStatistics,
    SamplingState,
)
from napari_blush.numerics.rotations import random_rotations
from napari_blush.plugin.run_controller import RunController
from napari_blush.plugin.run_phase import RunPhase
from napari_blush.plugin.widgets.refine import RefineWidget
from napari_blush.refine.events import (
    ExpectationProgress,
    HalfMapsReconstructed,
    IterationFinished,
    IterationStarted,
    ReferencesRegularized,
    RefinementEvent,
    RegularizationStep,
    RunStarted,
)
from napari_blush.refine.state import HalfModel, Progress, RefinementState
from napari_blush.simulation.phantoms import random_blobs

TICK = 0.005
BATCHES = 20
N_PARTICLES = 2000
SAMPLING = SamplingState(3, 1, 6.0, 2.0, None, 0.0)
ACCURACY = Accuracy(1.5, 0.8)


@dataclass
class Clock:
    """Gaps between ticks of the event loop, and the drawing in each, in seconds."""

    gaps: list[float] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)
    _last: float = 0.0
    _drawing: float = 0.0

    def start(self) -> None:
        """Forget what was and begin."""
        self.gaps.clear()
        self.drawn.clear()
        self._last, self._drawing = time.perf_counter(), 0.0

    def tick(self) -> None:
        """Note the time since the last tick."""
        now = time.perf_counter()
        if self._last:
            self.gaps.append(max(now - self._last - TICK, 0.0))
            self.drawn.append(self._drawing)
        self._last, self._drawing = now, 0.0

    def watch_drawing(self) -> None:
        """Time every drawing of the canvas and of the window around it from now on."""
        # There is no public event that comes before and after a drawing.
        window = vars(importlib.import_module("napari._qt.qt_main_window"))["_QtMainWindow"]
        original = window.event
        draws = (QEvent.Type.UpdateRequest, QEvent.Type.Paint)

        def event(self_: Any, happened: QEvent) -> bool:
            begun = time.perf_counter()
            answer = bool(original(self_, happened))
            if happened.type() in draws:
                self._drawing += time.perf_counter() - begun
            return answer

        window.event = event

    def row(self, what: str, iterations: int) -> Row:
        """Return the figures of a table, in milliseconds."""
        gaps, drawn = 1000 * np.array(self.gaps), 1000 * np.array(self.drawn)
        own = np.maximum(gaps - drawn, 0)
        return {
            "maps": what,
            "iterations": iterations,
            "pauses, 95th percentile (ms)": float(np.percentile(own, 95)),
            "a click waits, 95th percentile (ms)": waiting(own),
            "at worst (ms)": float(own.max()),
            "with drawing, 95th percentile (ms)": waiting(gaps),
            "with drawing, at worst (ms)": float(gaps.max()),
            "pauses": len(gaps),
        }


def waiting(blocked: np.ndarray) -> float:
    """Return the 95th percentile of how long a click waits that comes at any moment.

    It falls into a long gap more often than into a short one, and waits for what is left of it.
    """
    ends = np.cumsum(blocked + 1000 * TICK)
    moments = np.random.default_rng(0).random(200_000) * ends[-1]
    which = np.searchsorted(ends, moments)
    return float(np.percentile(np.minimum(ends[which] - moments, blocked[which]), 95))


def main() -> None:
    """Stream, measure, print the table."""
    options = parse()
    clock = Clock()
    clock.watch_drawing()
    viewer = napari.Viewer(show=True)
    viewer.window.set_geometry(0, 0, 1366, 768)
    rows = [latency(viewer, clock, options, is_drawn=False), latency(viewer, clock, options)]
    print(markdown(rows), flush=True)
    memory = memory_rows(viewer, clock, options)
    text = "\n\n".join([markdown(rows), markdown(memory)])
    print(markdown(memory))
    for path in options.output:
        write_table(path, rows + memory, text)
    viewer.close()


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds of computing per step")
    parser.add_argument("--memory-box", type=int, default=48)
    parser.add_argument("--memory-iterations", type=int, default=500)
    parser.add_argument("--output", type=Path, nargs="+", default=[], help="files: .md or .tsv")
    return parser.parse_args()


def latency(
    viewer: Any, clock: Clock, options: argparse.Namespace, *, is_drawn: bool = True
) -> Row:
    """Return the row of a stream with pauses in which the engine would compute.

    Where the canvas is not drawn, the rest is what a window with a graphics card is left with.
    """
    canvas = canvas_in_window()
    canvas.setUpdatesEnabled(is_drawn)
    stream(viewer, clock, options.box, options.iterations, options.pause)
    canvas.setUpdatesEnabled(True)
    return clock.row(
        f"{options.box}^3{'' if is_drawn else ', canvas not drawn'}", options.iterations
    )


def canvas_in_window() -> QOpenGLWidget:
    """Return the widget that the maps are drawn in."""
    found = [widget for widget in QApplication.allWidgets() if isinstance(widget, QOpenGLWidget)]
    return max(found, key=lambda widget: widget.width() * widget.height())


def memory_rows(viewer: Any, clock: Clock, options: argparse.Namespace) -> list[Row]:
    """Return resident memory after a fifth and after all of many iterations.

    Maps of past iterations are kept within a budget (Preferences), and are counted apart.
    """
    n, box = options.memory_iterations, options.memory_box
    found: list[Row] = []

    def note(dock: RefineWidget, iteration: int) -> None:
        if iteration in (n // 5, n):
            kept = vars(dock)["_view"].layers.store.n_bytes / 2**20
            resident = resident_megabytes()
            found.append(
                {
                    "maps": f"{box}^3",
                    "iteration": iteration,
                    "resident MB": resident,
                    "of it past iterations MB": kept,
                    "the rest MB": resident - kept,
                }
            )

    stream(viewer, clock, box, n, 0.0, note)
    return found


def resident_megabytes() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def stream(
    viewer: Any, clock: Clock, box: int, iterations: int, pause: float, note: Any = None
) -> None:
    """Show a made-up run in a dock of its own until it has said everything."""
    application = QApplication.instance()
    dock = RefineWidget(
        viewer, lambda: RunController(lambda job, steering: events_of(box, iterations, pause))
    )
    window = viewer.window.add_dock_widget(dock, area="right", name="Refine")
    wait(application, lambda: dock.controller is not None)
    with tempfile.TemporaryDirectory() as folder:
        dock.set_up.use_sample()
        dock.inputs.fields["output"].set_value(Path(folder) / f"run{box}")
        if note is not None:
            dock.controller.session.events.iteration.connect(partial(note, dock))
        ticks = QTimer(dock)
        ticks.setTimerType(Qt.TimerType.PreciseTimer)
        ticks.timeout.connect(clock.tick)
        dock.press("start")
        # The first maps make layers and shaders once; what a person feels is what comes after.
        wait(application, lambda: dock.controller.session.iteration >= min(3, iterations))
        clock.start()
        ticks.start(round(1000 * TICK))
        while dock.controller.phase not in (RunPhase.CANCELLED, RunPhase.FAILED, RunPhase.FINISHED):
            application.processEvents()
            if dock.controller.session.iteration >= iterations:
                break
        ticks.stop()
        dock.controller.leave()
        dock.shut_down()
        viewer.window.remove_dock_widget(window)


def wait(application: Any, is_so: Any, seconds: float = 120.0) -> None:
    """Run the event loop until something is so."""
    ends = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > ends:
            raise SystemExit("The window did not come to it in time.")
        application.processEvents()
        time.sleep(0.002)


def events_of(box: int, iterations: int, pause: float) -> Generator[RefinementEvent, None, None]:
    """Yield what a run of so many iterations would say, with the engine's pauses."""
    generator = torch.Generator().manual_seed(0)
    density = random_blobs(generator, n_blobs=40, radius_px=0.3 * box).volume(box)
    yield RunStarted(N_PARTICLES, (N_PARTICLES // 2,) * 2, box, 3.0, 1, "cpu", "numba", "blush")
    for iteration in range(1, iterations + 1):
        yield from iteration_events(density, box, iteration, pause, generator)


def iteration_events(
    density: torch.Tensor, box: int, iteration: int, pause: float, generator: torch.Generator
) -> Iterator[RefinementEvent]:
    """Yield what an iteration says: new noise on the same density."""
    yield IterationStarted(iteration, SAMPLING, ACCURACY, box, False)
    for batch in range(BATCHES):
        time.sleep(pause / BATCHES)
        half, done = 1 + batch % 2, N_PARTICLES * (batch + 1) // BATCHES
        yield ExpectationProgress(iteration, half, done, N_PARTICLES)
    noisy = [density + 0.3 * torch.randn(density.shape, generator=generator) for _ in range(4)]
    maps, denoised = HalfMaps(noisy[0], noisy[1], 3.0), HalfMaps(noisy[2], noisy[3], 3.0)
    curve = (1 - torch.arange(box // 2 + 1) / (box // 2)).clamp(0, 1)
    fsc = FscCurves(curve, curve, 0.2 * curve, curve, box // 4)
    yield HalfMapsReconstructed(iteration, maps, fsc, 10.0)
    for step in range(10):
        time.sleep(pause / 20)
        yield RegularizationStep(iteration, "denoising half 1", step / 10)
    yield ReferencesRegularized(iteration, (noisy[2], noisy[3]), box // 4)
    result = result_of(maps, denoised, fsc, iteration, generator)
    yield IterationFinished(result, state_of(result))


def result_of(
    maps: HalfMaps,
    denoised: HalfMaps,
    fsc: FscCurves,
    iteration: int,
    generator: torch.Generator,
) -> IterationResult:
    """Return the result of a made-up iteration."""
    shells, ones = torch.ones(len(fsc.unmasked)), torch.ones(N_PARTICLES)
    rotations = random_rotations(N_PARTICLES, generator)
    return IterationResult(
        iteration=iteration,
        half_maps=maps,
        references=(denoised.half1, denoised.half2),
        wiener_maps=maps,
        fsc=fsc,
        resolution_angstrom=10.0,
        cutoff_shell=len(shells) // 2,
        tau2=(shells, shells),
        data_vs_prior=shells,
        sigma2_noise=(shells[None], shells[None]),
        sigma_offset_angstrom=(5.0, 5.0),
        poses=Poses(rotations, torch.zeros(N_PARTICLES, 2, dtype=rotations.dtype)),
        pose_statistics=PoseStatistics(
            ones, -ones, torch.ones(N_PARTICLES, dtype=torch.int64), ones
        ),
        pdf_direction=(torch.ones(12) / 12, torch.ones(12) / 12),
        group_scale=(torch.ones(1), torch.ones(1)),
        sampling=SAMPLING,
        accuracy=ACCURACY,
        changes_rotation_deg=1.0,
        changes_offset_angstrom=1.0,
        average_p_max=0.5,
        current_size=maps.half1.shape[-1],
        coarse_size=32,
        seconds=1.0,
        denoised_maps=denoised,
        regularized_by="blush",
    )


def state_of(result: IterationResult) -> RefinementState:
    """Return the state that goes with a made-up result."""
    shells, pdf = torch.ones(len(result.fsc.unmasked)), torch.ones(12) / 12
    models = tuple(
        HalfModel(reference, shells[None], 5.0, pdf, 0, shells, 1.0, shells, shells)
        for reference in result.references
    )
    return RefinementState(
        iteration=result.iteration,
        models=(models[0], models[1]),
        poses=result.poses,
        norm=torch.ones(N_PARTICLES, dtype=torch.float64),
        random_subset=1 + torch.arange(N_PARTICLES) % 2,
        sampling=SAMPLING,
        accuracy=ACCURACY,
        progress=Progress(),
    )


if __name__ == "__main__":
    main()
