"""One run per folder: a lock file that names its process, and outlives it by no run."""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from napari_blush.errors import RunFolderError
from napari_blush.io.atomic import reason_of

LOCK_NAME = "run.lock"


class RunLock:
    """Holds a folder from construction to ``release``.

    A lock that a dead process of this host left behind is taken over; one of another host is
    respected, because nothing can be known of that process.

    Parameters
    ----------
    folder : Path
        Must exist.

    Attributes
    ----------
    taken_over_from : str or None
        Says whose lock was taken over.

    Raises
    ------
    RunFolderError
        When another run holds the folder, or it cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        self.taken_over_from: str | None = None
        self._own = json.dumps(_this_process())
        if not self._create():
            self._take_over()
            if not self._create():
                raise self._in_use(_owner(self._read()))
        self.held = True

    def release(self) -> None:
        """Remove the lock file, if it is still this process's."""
        if self.held and self._read() == self._own:
            self.path.unlink(missing_ok=True)
        self.held = False

    def _create(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except OSError as problem:
            raise RunFolderError(
                f"Cannot write to run folder {self.path.parent}: {reason_of(problem)}"
            ) from problem
        try:
            os.write(descriptor, self._own.encode())
        except OSError as problem:
            self.path.unlink(missing_ok=True)
            raise RunFolderError(
                f"Cannot write to run folder {self.path.parent}: {reason_of(problem)}"
            ) from problem
        finally:
            os.close(descriptor)
        return True

    def _take_over(self) -> None:
        found = self._read()
        owner = _owner(found)
        if not _is_dead(owner):
            raise self._in_use(owner)
        aside = self.path.with_name(f"{LOCK_NAME}.{os.getpid()}")
        try:
            os.replace(self.path, aside)
            moved = aside.read_text()
        except FileNotFoundError:
            return
        if moved != found:
            # Another process was quicker: what was moved aside is its lock. Give it back.
            os.replace(aside, self.path)
            raise self._in_use(_owner(moved))
        aside.unlink()
        self.taken_over_from = f"process {owner.get('pid')} on {owner.get('host')}"

    def _read(self) -> str:
        try:
            return self.path.read_text()
        except OSError:
            return ""

    def _in_use(self, owner: dict[str, object]) -> RunFolderError:
        who = f"process {owner.get('pid', '?')} on {owner.get('host', 'an unknown host')}"
        return RunFolderError(
            f"Run folder {self.path.parent} is in use by {who}; wanted a folder of its own; choose "
            f"another, or delete {LOCK_NAME} in it if that run is dead."
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a run folder; ``is_alive`` also where nothing can be known, on another host."""

    name: str
    is_alive: bool
    is_this_process: bool


def holder_of(folder: str | Path) -> Holder | None:
    """Return who holds a run folder, None when nobody does; changes nothing."""
    try:
        owner = _owner((Path(folder) / LOCK_NAME).read_text())
    except OSError:
        return None
    return Holder(
        f"process {owner.get('pid', '?')} on {owner.get('host', 'an unknown host')}",
        not _is_dead(owner),
        owner == _this_process(),
    )


def _this_process() -> dict[str, object]:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "began": _beginning_of(pid)}


def _owner(text: str) -> dict[str, object]:
    try:
        owner = json.loads(text)
    except ValueError:
        owner = None
    return owner if isinstance(owner, dict) else {}


def _is_dead(owner: dict[str, object]) -> bool:
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    # The number may have been given to another process since.
    return owner.get("began") != _beginning_of(pid)


def _beginning_of(pid: int) -> str | None:
    """Return when a process began, in the system's own count, or None where it does not say."""
    try:
        # The name in field 2 may hold spaces; field 22 is counted from behind its bracket.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
