"""Sections of a page as a small file, for a later page that gathers them."""

import json
from collections.abc import Sequence
from pathlib import Path

from napari_blush.errors import RunFolderError
from napari_blush.io.atomic import reason_of, write_bytes
from napari_blush.validation.lights import Check, Light
from napari_blush.validation.report_page import Section

SECTIONS_NAME = "report.json"


def write_sections(folder: Path, command: str, sections: Sequence[Section]) -> Path:
    """Keep sections in ``report.json`` of a folder, with the command that found them.

    Parameters
    ----------
    folder : Path
    command : str
        Such as ``validate-bias``.
    sections : sequence of Section

    Returns
    -------
    Path
    """
    kept = [
        {
            "title": section.title,
            "checks": [
                [check.name, check.value, check.light.word, check.sentence]
                for check in section.checks
            ],
            "drawings": list(section.drawings),
            "notes": list(section.notes),
        }
        for section in sections
    ]
    path = folder / SECTIONS_NAME
    content = json.dumps({"command": command, "sections": kept}, indent=1)
    write_bytes(path, content.encode(), RunFolderError)
    return path


def read_sections(folder: Path, command: str) -> list[Section]:
    """Return what a command kept in a folder.

    Raises
    ------
    RunFolderError
        When there is nothing, or what is there is another command's.
    """
    path = folder / SECTIONS_NAME
    wanted = f"wanted the output of {command}; run it, or correct the path"
    try:
        kept = json.loads(path.read_text())
    except OSError as problem:
        raise RunFolderError(f"Cannot read {path}: {reason_of(problem)}; {wanted}.") from problem
    except ValueError as problem:
        raise RunFolderError(f"{path} is not JSON; {wanted}.") from problem
    try:
        found_by = kept["command"]
        sections = [
            Section(
                each["title"],
                [
                    Check(name, value, Light[light.upper()], sentence)
                    for name, value, light, sentence in each["checks"]
                ],
                each["drawings"],
                each["notes"],
            )
            for each in kept["sections"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise RunFolderError(f"{path} does not hold sections of a report; {wanted}.") from problem
    if found_by != command:
        raise RunFolderError(f"{path} is the output of {found_by}; {wanted}.")
    return sections
