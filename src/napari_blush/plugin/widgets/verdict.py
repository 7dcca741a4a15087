"""Lights, figures and sentences of a judgment, as rich text that reads in either theme."""

from collections.abc import Sequence
from html import escape
from typing import Any

from qtpy.QtWidgets import QLabel, QWidget

_COLORS = {"green": "#3a9d5d", "yellow": "#e0a526", "red": "#d8433a"}
_SIGNS = {"green": "●", "yellow": "◐", "red": "■"}
"""Told apart without colours, too."""


class Verdict(QLabel):
    """The checks of a judgment, the worst light at the head.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.hide()

    def show_checks(self, title: str, checks: Sequence[Any], notes: Sequence[str]) -> None:
        """Show what a judgment found.

        Parameters
        ----------
        title : str
        checks : sequence of ``validation.lights.Check``
        notes : sequence of str
        """
        self.setText(verdict_html(title, checks, notes))
        self.show()


def verdict_html(title: str, checks: Sequence[Any], notes: Sequence[str]) -> str:
    """Return the checks as rich text."""
    worst = max((check.light for check in checks), default=None)
    head = f"<b>{escape(title)}</b>"
    if worst is not None:
        head = f"{_lamp(worst.word)} {head}: {worst.word}"
    lines = [
        f"{_lamp(check.light.word)} {escape(check.name)} <b>{escape(check.value)}</b><br>"
        f"{escape(check.sentence)}"
        for check in checks
    ]
    return "".join(
        f'<p style="margin: 5px 0">{line}</p>' for line in (head, *lines, *map(escape, notes))
    )


def _lamp(word: str) -> str:
    return f'<span style="color: {_COLORS[word]}">{_SIGNS[word]}</span>'
