"""Where weights lie: shipped with the package, put there by the user, or fetched by RELION.

The user's folder is ``NAPARI_BLUSH_WEIGHTS`` or the platform's folder for user data. RELION keeps
its copy in the hub folder of the tensor library, which follows ``TORCH_HOME``.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from napari_blush.errors import WeightsError

FOLDER_VARIABLE = "NAPARI_BLUSH_WEIGHTS"
LARGEST_FILE_BYTES = 1 << 30
SUFFIXES = (".safetensors", ".ckpt.gz", ".ckpt")
"""Of the files that are looked at, in order of preference."""


def own_folder() -> Path:
    """Return the folder of the user's weights, which need not exist."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given).expanduser()
    return _user_data_folder() / "napari-blush" / "weights"


def relion_folders() -> list[Path]:
    """Return the folders where RELION 5 may have put its weights, the most likely one first."""
    homes = []
    if given := os.environ.get("TORCH_HOME"):
        homes.append(Path(given).expanduser())
    if cache := os.environ.get("XDG_CACHE_HOME"):
        homes.append(Path(cache).expanduser() / "torch")
    homes.append(Path.home() / ".cache" / "torch")
    return [home / "hub" / "checkpoints" / "relion_blush" for home in dict.fromkeys(homes)]


def shipped_folder() -> Traversable:
    """Return the folder of the weights that come with the package, which may be empty."""
    return files("napari_blush.denoiser") / "shipped"


def weights_in(folder: Path | Traversable) -> dict[str, Path | Traversable]:
    """Return the weight files of a folder by name, without their suffix."""
    found: dict[str, Path | Traversable] = {}
    if not folder.is_dir():
        return found
    children = sorted(folder.iterdir(), key=lambda child: child.name)
    for suffix in SUFFIXES:
        for child in children:
            if child.name.endswith(suffix) and child.is_file():
                found.setdefault(child.name.removesuffix(suffix), child)
    return found


def read_whole(path: Path | Traversable) -> bytes:
    """Return the bytes of a weight file.

    Raises
    ------
    WeightsError
        When it is missing, unreadable or absurdly large.
    """
    try:
        if isinstance(path, Path) and path.stat().st_size > LARGEST_FILE_BYTES:
            raise WeightsError(
                f"{path} has {path.stat().st_size} bytes; wanted weights of at most "
                f"{LARGEST_FILE_BYTES}; check the path."
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"Weights file {path} does not exist; check the path.") from None
    except OSError as problem:
        raise WeightsError(
            f"Cannot read the weights {path}: {problem.strerror or problem}; check the path and "
            "its permissions."
        ) from problem


@contextlib.contextmanager
def whole_or_absent(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it when the block ends well.

    Raises
    ------
    WeightsError
        When the disk refuses; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            # Without this a power cut can leave the new name on an empty file.
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        raise WeightsError(
            f"Cannot write {path}: {problem.strerror or problem}; check that its folder exists, "
            "may be written to and has space."
        ) from problem
    finally:
        temporary.unlink(missing_ok=True)


def _user_data_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
