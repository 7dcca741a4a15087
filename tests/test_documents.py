"""What the documents point at exists."""

import re
from pathlib import Path

import pytest

import napari_blush
from napari_blush.cli.commands import COMMANDS, build_parser

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


@pytest.mark.slow
def test_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(REPOSITORY)
    exec(code.replace("Settings(", "Settings(max_iterations=1, "), {})
    first = capsys.readouterr().out.split()
    assert first[0] == "1"
    assert float(first[1]) < 40


def test_each_name_of_the_package_is_there() -> None:
    for name in napari_blush.__all__:
        assert getattr(napari_blush, name) is not None
    assert set(napari_blush.__all__) <= set(dir(napari_blush))
    stub = (REPOSITORY / "src" / "napari_blush" / "__init__.pyi").read_text()
    assert set(re.findall(r" as (\w+)$", stub, re.MULTILINE)) == {*napari_blush.__all__[1:]}
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(napari_blush, "nonsense")  # noqa: B009


def test_commands_and_make_words_in_documents_exist() -> None:
    words = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text()
        assert set(re.findall(r"^napari-blush ([a-z-]+) ", text, re.MULTILINE)) <= COMMANDS.keys()
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= words


def test_options_in_documents_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known = set()
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, "--help"])
        known |= set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))
    for document in DOCUMENTS:
        text = document.read_text()
        named = re.findall(r"`(--[a-z][a-z0-9-]+)", text)
        for line in re.findall(r"^ *napari-blush .*$", text, re.MULTILINE):
            named += re.findall(r"(?<=\s)--[a-z][a-z0-9-]+", line)
        assert set(named) <= known, document.name
