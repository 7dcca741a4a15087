"""Files that are either whole or absent: written under a temporary name, then renamed.

The temporary file lies in the folder of the target, because a rename is atomic only within one
file system. Whatever goes wrong in between, the temporary file is removed and an older file of
that name stays as it was.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from napari_blush.errors import BlushError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder.",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder.",
    errno.EACCES: "permission was denied; choose a folder that you may write to.",
    errno.EPERM: "permission was denied; choose a folder that you may write to.",
    errno.EROFS: "the file system is read-only; choose another folder.",
    errno.ENOENT: "its folder does not exist; create the folder first.",
    errno.ENOTDIR: "a part of its path is a file; choose another folder.",
    errno.EISDIR: "a folder of that name stands in the way; choose another name.",
}


@contextlib.contextmanager
def atomic_write(path: Path, error: type[BlushError]) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` when the block ends well.

    Parameters
    ----------
    path : Path
        The file to make or to replace.
    error : subclass of BlushError
        What an ``OSError`` of the block or of the rename becomes.

    Raises
    ------
    BlushError
        Of the given kind, naming the file and the reason. The temporary file is gone then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            # Without this a power cut can leave the new name on an empty file.
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        raise error(
            f"Cannot write {path}: {reason_of(problem)}",
        ) from problem
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, error: type[BlushError]) -> None:
    """Write a file whole or not at all; see ``atomic_write``."""
    with atomic_write(path, error) as temporary:
        temporary.write_bytes(content)


def reason_of(problem: OSError) -> str:
    """Return the end of a sentence that says why the system refused and what to do."""
    known = _REASONS.get(problem.errno or 0)
    return known or f"{problem.strerror or problem}; check the disk and the path."
