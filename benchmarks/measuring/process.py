"""CPU seconds, wall seconds and peak memory of a program and all that it starts.

CPU seconds come from ``wait4`` and count every descendant that was waited for. Peak memory is the
larger of the kernel's own figure for the largest process and of the resident sets of the whole
tree, added up at each poll: programs of several ranks need their sum. The caller must be small
itself, for a child inherits the peak of the process that it was forked from.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """What a program took: ``returncode`` and seconds; ``peak_mb`` in 10^6 bytes."""

    returncode: int
    cpu_seconds: float
    wall_seconds: float
    peak_mb: float


def run_measured(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    on_poll: Callable[[float, float], None] | None = None,
) -> Usage:
    """Run a program to its end.

    Parameters
    ----------
    command : sequence of str
    folder : Path
        Working directory.
    log : Path
        Receives what the program prints.
    environment : mapping, optional
        Added to this process's own.
    on_poll : callable, optional
        Called a few times a second with the CPU seconds and wall seconds so far.
    """
    started = time.perf_counter()
    with log.open("wb") as printed:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdout=printed,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        peak = 0.0
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(POLL_SECONDS):
                cpu, resident = tree_usage(process.pid)
                peak = max(peak, resident)
                if on_poll is not None:
                    on_poll(cpu, time.perf_counter() - started)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watcher.join()
    return Usage(
        process.returncode,
        used.ru_utime + used.ru_stime,
        time.perf_counter() - started,
        max(peak, used.ru_maxrss * 1024) / 1e6,
    )


def tree_usage(root: int) -> tuple[float, float]:
    """Return CPU seconds and resident bytes of a process and its descendants, now."""
    cpu, resident = 0.0, 0.0
    todo = [root]
    while todo:
        pid = todo.pop()
        try:
            # The name, in parentheses, may hold blanks; what counts comes after it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        cpu += sum(int(ticks) for ticks in fields[11:15]) / _TICKS
        resident += int(fields[21]) * _PAGE
        todo += [int(child) for child in children]
    return cpu, resident
