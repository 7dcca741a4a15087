"""What every room's tests share: seeds, threads, the shared data, and reasons to skip."""

import os
import shutil
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[1]

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def shared_data_folder() -> Path:
    """Return where the shared data should lie, whether or not they do."""
    beside = REPOSITORY.parent / "shared" / "data"
    return Path(os.environ.get("NAPARI_BLUSH_DATA", beside))


def reason_to_skip(item: pytest.Item) -> str | None:
    """Return what this machine lacks for a marked test, or None when it lacks nothing."""
    if item.get_closest_marker("relion") and shutil.which("relion_reconstruct") is None:
        return "RELION is not on PATH"
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        return "there is no CUDA device"
    if item.get_closest_marker("real_data") and not shared_data_folder().is_dir():
        return f"there is no folder {shared_data_folder()}; name one in NAPARI_BLUSH_DATA"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with its reason, what cannot run here."""
    reason = reason_to_skip(item)
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def generator() -> torch.Generator:
    """Return a CPU generator with a fixed seed, fresh for each test."""
    return torch.Generator().manual_seed(20240611)


@pytest.fixture
def data_dir() -> Path:
    """Return the folder of shared data; skip where there is none."""
    folder = shared_data_folder()
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder}; name one in NAPARI_BLUSH_DATA")
    return folder
