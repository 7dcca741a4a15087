"""Tables as Markdown and as tab-separated values."""

from collections.abc import Mapping, Sequence
from pathlib import Path

Row = Mapping[str, object]


def markdown(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table; the columns are the keys, in order of first appearance."""
    columns = _columns(rows)
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        lines.append("| " + " | ".join(cell(row.get(column)) for column in columns) + " |")
    return "\n".join(lines)


def write_table(path: Path, rows: Sequence[Row], text: str) -> None:
    """Write ``text`` to ``path``, or the rows as tab-separated values when it ends in ``.tsv``."""
    if path.suffix == ".tsv":
        columns = _columns(rows)
        lines = ["\t".join(columns)]
        lines += ["\t".join(cell(row.get(column)) for column in columns) for row in rows]
        text = "\n".join(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, ``#`` lines left out."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    columns = lines[0].split("\t")
    return [dict(zip(columns, line.split("\t"), strict=True)) for line in lines[1:]]


def cell(value: object) -> str:
    """Return a value as text: three figures, a dash for what is not known."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))
