"""A label for sentences that fits a narrow dock, whatever paths and checksums stand in them."""

import re

from qtpy.QtWidgets import QLabel, QWidget

_BREAK = "\u200b"
"""A space of no width: lines may end there."""

_LONGEST = 16
"""Letters without a place to break at."""


class Sentence(QLabel):
    """Wraps between words, and within those that are long; ``text`` is what was set.

    Parameters
    ----------
    text : str, optional
    parent : QWidget, optional
    """

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self.setWordWrap(True)
        self.setText(text)

    def setText(self, text: str | None) -> None:
        """Show a text."""
        self._text = text or ""
        super().setText(breakable(self._text))

    def text(self) -> str:
        """Return the text."""
        return self._text


def breakable(text: str) -> str:
    """Return a text with places to break at in long words, after signs where there are some."""
    return re.sub(r"\S+", lambda found: _broken(found[0]), text)


def _broken(word: str) -> str:
    if len(word) <= _LONGEST:
        return word
    parts = re.findall(r"[^/\\_.,-]*[/\\_.,-]?", word)
    pieces = [part[at : at + _LONGEST] for part in parts for at in range(0, len(part), _LONGEST)]
    return _BREAK.join(pieces)
