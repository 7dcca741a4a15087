"""Windows for the tests that need one, and reasons to skip those where there is none."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

_STARTS_WITHIN = 20


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """Return a display: the one there is, or a virtual one of our own; skip without either."""
    given = os.environ.get("DISPLAY")
    if given:
        yield given
        return
    if os.name == "nt":
        yield ""
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no display and no Xvfb to make one (Debian: apt-get install xvfb)")
    server, number = start_virtual_display()
    os.environ["DISPLAY"] = number
    yield number
    del os.environ["DISPLAY"]
    server.terminate()
    server.wait(_STARTS_WITHIN)


def start_virtual_display() -> tuple[subprocess.Popen[bytes], str]:
    """Start Xvfb on a number that it finds free."""
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    if not number:
        pytest.skip("Xvfb is installed and does not start")
    return server, f":{number}"


@pytest.fixture(scope="session")
def application(display: str):
    """Return the Qt application, on software rendering, with no settings file read or written."""
    os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
    os.environ["NAPARI_CONFIG"] = ""
    from napari.qt import get_qapp  # noqa: PLC0415  the display must be there first

    return get_qapp()


@pytest.fixture
def wait_until(application) -> Callable[..., None]:
    """Return a function that runs the event loop until something is so."""

    def wait(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
        ends = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < ends, "it did not come about in time"
            application.processEvents()
            time.sleep(0.005)

    return wait
