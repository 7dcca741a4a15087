"""Runs the E-step of the two halves: one after the other, or side by side on a CPU.

The halves share nothing but what they read, so on a CPU each gets half of the threads: two
single-threaded streams of small matrix products waste far less than one stream that forks and
joins at every product. The result does not depend on which of the two is chosen.
"""

import queue
import threading
from collections.abc import Generator
from typing import TypeAlias

import torch

from napari_blush.errors import RefinementError
from napari_blush.likelihood.weighted_sums import WeightedSums

HalfRun: TypeAlias = Generator[int, None, WeightedSums]
Said: TypeAlias = tuple[int, int] | Exception | None
"""What a worker says: (half, images done), what went wrong, or that it has ended."""


def run_in_turn(runs: list[HalfRun]) -> Generator[tuple[int, int], None, list[WeightedSums]]:
    """Run one half after the other; yield (half, images done); return their sums."""
    sums = []
    for half, run in enumerate(runs):
        while True:
            try:
                done = next(run)
            except StopIteration as finished:
                sums.append(finished.value)
                break
            yield half, done
    return sums


def run_side_by_side(
    runs: list[HalfRun], threads: int
) -> Generator[tuple[int, int], None, list[WeightedSums]]:
    """Run the halves in a thread each; yield (half, images done); return their sums.

    Closing the generator stops both within one particle batch. While nobody asks for the next
    event, a half goes on for one batch and then waits.

    Parameters
    ----------
    runs : list of generators
    threads : int
        CPU threads to share.
    """
    workers = [_Worker(half, run) for half, run in enumerate(runs)]
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // len(workers)))
    events: queue.Queue[Said] = queue.Queue(maxsize=len(workers))
    for worker in workers:
        worker.start(events)
    running = len(workers)
    try:
        while running:
            said = events.get()
            if isinstance(said, Exception):
                raise said
            if said is None:
                running -= 1
            else:
                yield said
    finally:
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            worker.join(events)
        torch.set_num_threads(before)
    return [worker.result() for worker in workers]


class _Worker:
    """Drives one half in a thread of its own."""

    def __init__(self, half: int, run: HalfRun) -> None:
        self._half = half
        self._run = run
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._sums: WeightedSums | None = None

    def start(self, events: "queue.Queue[Said]") -> None:
        self._thread = threading.Thread(
            target=self._work, args=(events,), name=f"half {self._half + 1}", daemon=True
        )
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let the thread end after the batch it is at."""
        self._stopping.set()

    def join(self, events: "queue.Queue[Said]") -> None:
        """Wait for the end of the thread, taking what it still wants to say."""
        while self._thread is not None and self._thread.is_alive():
            try:
                events.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.01)

    def result(self) -> WeightedSums:
        if self._sums is None:
            raise RefinementError(
                f"The E-step of half {self._half + 1} ended without a result; wanted one; "
                "resume the run from its last iteration."
            )
        return self._sums

    def _work(self, events: "queue.Queue[Said]") -> None:
        try:
            self._iterate(events)
        except Exception as error:  # noqa: BLE001 - raised again where the run is driven
            events.put(error)
        else:
            events.put(None)

    def _iterate(self, events: "queue.Queue[Said]") -> None:
        # Gradient mode belongs to a thread, not to the process.
        with torch.no_grad():
            while not self._stopping.is_set():
                try:
                    done = next(self._run)
                except StopIteration as finished:
                    self._sums = finished.value
                    return
                events.put((self._half, done))
            self._run.close()
