"""What the documents point at exists."""

import re
from pathlib import Path

import pytest

from napari_blush.cli.commands import COMMANDS

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#([^)\s]+))?\)")


def anchors(document: Path) -> set[str]:
    """Return the headings of a document as links name them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text()):
        file = document.parent / target
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_commands_and_make_words_in_documents_exist() -> None:
    words = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text()
        assert set(re.findall(r"^napari-blush ([a-z-]+) ", text, re.MULTILINE)) <= COMMANDS.keys()
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= words
