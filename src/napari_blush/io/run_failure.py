"""``failure.json``: why the last run in a folder ended before its end."""

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

from napari_blush.errors import RunFolderError
from napari_blush.io.atomic import write_bytes
from napari_blush.wording import in_words

FAILURE_NAME = "failure.json"


def write_failure(folder: Path, error: Exception) -> None:
    """Write an error as a sentence, with the time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    content = json.dumps({"reason": in_words(error), "time": now})
    write_bytes(folder / FAILURE_NAME, content.encode(), RunFolderError)


def read_failure(folder: str | Path) -> str:
    """Return why the last run failed; empty when it did not, or did not come to say so."""
    try:
        content = json.loads((Path(folder) / FAILURE_NAME).read_text())
        return str(content["reason"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def forget_failure(folder: Path) -> None:
    """Remove what was written of a failure: another run begins."""
    with contextlib.suppress(OSError):
        (folder / FAILURE_NAME).unlink(missing_ok=True)
