"""The parts that a page about a run is made of: its style, headings, tables and notes, as HTML."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222;
background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem;
border-bottom:1px solid #ddd}table{border-collapse:collapse}
td,th{padding:.25rem .7rem;vertical-align:top;text-align:left;font-weight:normal}
tr+tr td,tr+tr th{border-top:1px solid #eee}th{color:#666}td.n{text-align:right;
font-variant-numeric:tabular-nums}td.c{font-weight:bold}.s{color:#666;font-size:.9rem}
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#444}
.m img{width:12rem;height:12rem;display:block}.m td{border:0;padding:.2rem .4rem .2rem 0}
summary{cursor:pointer;color:#1b6ca8}
"""


def section(title: str, body: str) -> str:
    """Return a heading over a body of HTML; nothing where there is none."""
    return f"<h2>{title}</h2>{body}" if body else ""


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Return rows of cells that are HTML already; those under a number's column stand right."""
    top = "<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table>{top}{body}</table>"


def _cell(text: str) -> str:
    is_number = text[:1].isdigit() and not any(letter.isalpha() for letter in text)
    return f'<td class="n">{text}</td>' if is_number else f"<td>{text}</td>"


def note(text: str) -> str:
    """Return a text as a small paragraph."""
    return f'<p class="s">{escape(text)}</p>'
