"""The tensor library is loaded beside what is drawn."""

import subprocess
import sys

import pytest

MAPS = """
import sys, threading, time
from pathlib import Path
from napari_blush.plugin.loading import map_tensor_library

def is_mapped():
    return "libtorch_cpu" in Path("/proc/self/maps").read_text()

assert not is_mapped()
thread = threading.Thread(target=map_tensor_library)
pauses, last = [], time.perf_counter()
begins = last
thread.start()
while thread.is_alive():
    time.sleep(0.001)
    now = time.perf_counter()
    pauses.append(now - last)
    last = now
assert is_mapped()
assert "torch" not in sys.modules
print(max(pauses), last - begins)
import torch
assert float(torch.ones(3).sum()) == 3.0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of its processes")
def test_the_interpreter_goes_on_while_the_tensor_library_is_mapped() -> None:
    call = [sys.executable, "-c", MAPS]
    found = subprocess.run(call, check=True, capture_output=True, text=True)
    longest, whole = map(float, found.stdout.split())
    assert longest < 0.5 * whole
