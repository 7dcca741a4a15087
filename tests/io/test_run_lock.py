import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from napari_blush.errors import RunFolderError
from napari_blush.io.run_lock import LOCK_NAME, RunLock


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave_lock(folder: Path, **changes: object) -> None:
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "began": None} | changes
    (folder / LOCK_NAME).write_text(json.dumps(owner))


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} on"):
        RunLock(tmp_path)
    lock.release()
    lock.release()
    assert not list(tmp_path.iterdir())
    assert RunLock(tmp_path).taken_over_from is None


def test_another_live_process_keeps_its_folder(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from napari_blush.io.run_lock import RunLock\n"
        "lock = RunLock(pathlib.Path(sys.argv[1]))\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(RunFolderError, match=f"in use by process {process.pid} on"):
        RunLock(tmp_path)
    process.kill()
    process.communicate()
    lock = RunLock(tmp_path)
    assert lock.taken_over_from == f"process {process.pid} on {socket.gethostname()}"


def test_a_dead_process_gives_way(tmp_path: Path) -> None:
    leave_lock(tmp_path, pid=dead_process())
    lock = RunLock(tmp_path)
    assert lock.taken_over_from is not None
    lock.release()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc tells when a process began")
def test_a_number_given_to_another_process_gives_way(tmp_path: Path) -> None:
    leave_lock(tmp_path, began="1")
    assert RunLock(tmp_path).taken_over_from is not None


def test_what_cannot_be_judged_is_respected(tmp_path: Path) -> None:
    leave_lock(tmp_path, host="elsewhere", pid=dead_process())
    with pytest.raises(RunFolderError, match=r"on elsewhere; .* delete run.lock"):
        RunLock(tmp_path)
    (tmp_path / LOCK_NAME).write_text("not ours")
    with pytest.raises(RunFolderError, match="on an unknown host"):
        RunLock(tmp_path)


def test_a_lock_that_changed_hands_is_left_alone(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    leave_lock(tmp_path, host="elsewhere")
    lock.release()
    assert (tmp_path / LOCK_NAME).exists()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="folder does not exist"):
        RunLock(tmp_path / "nowhere")
