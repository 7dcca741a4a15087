"""What a form says of a field of a settings class: label, unit, bounds, help; no toolkit."""

import re
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from napari_blush.data_model.settings import Settings

_SPELT = {"cc": "CC", "fsc": "FSC", "healpix": "HEALPix", "nyquist": "Nyquist"}
"""Words of names as people write them."""

_UNITS = {"A": "Å", "px": "px", "GB": "GB", "deg": "°"}
_BOUND_WORDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_KINDS = {int: "a whole number", float: "a number", str: "a text", Path: "a file"}


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """A field in words.

    Parameters
    ----------
    name, label : str
        The label ends with the unit.
    kind : type
        Without ``None``.
    choices : tuple of str
        Empty where anything goes.
    may_be_none : bool
    low, high : float or None
        Bounds, themselves allowed or not.
    default : object
    tooltip : str
        Description with RELION's name and the bounds.
    """

    name: str
    label: str
    kind: Any
    choices: tuple[str, ...]
    may_be_none: bool
    low: float | None
    high: float | None
    default: Any
    tooltip: str

    @property
    def wanted(self) -> str:
        """What the field takes, as the end of a sentence."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        what = _KINDS.get(self.kind, "a value")
        bounds = self.tooltip.rpartition(" (")[2].rstrip(")") if self._is_bounded else ""
        empty = ", or nothing" if self.may_be_none else ""
        empty += " for the default" if self.may_be_none and self.default is None else ""
        return f"{what} {bounds}".rstrip() + empty

    @property
    def when_empty(self) -> str:
        """What stands in an empty field: no value is a choice where the default is another."""
        return "default" if self.default is None else "none"

    @property
    def _is_bounded(self) -> bool:
        return self.low is not None or self.high is not None


def facts_of(settings: type[Settings], name: str) -> FieldFacts:
    """Return the facts of one field."""
    field = settings.model_fields[name]
    kind, may_be_none = _without_none(field.annotation)
    choices = tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()
    limits = _limits(field)
    description = (field.description or "").rstrip(".")
    unit = next(
        (shown for word, shown in _UNITS.items() if re.search(rf"\bin {word}\b", description)), ""
    )
    label = _words_of(name)
    bounds = _bounds(limits)
    return FieldFacts(
        name=name,
        label=f"{label} ({unit})" if unit else label,
        kind=str if choices else kind,
        choices=choices,
        may_be_none=may_be_none,
        low=limits.get("ge", limits.get("gt")),
        high=limits.get("le", limits.get("lt")),
        default=field.default,
        tooltip=f"{description} ({bounds})" if bounds else description,
    )


def problems_of(settings: type[Settings], values: dict[str, Any]) -> dict[str, str]:
    """Return what is wrong with values, by field, each as a sentence; empty when nothing is."""
    try:
        settings.model_validate(values)
    except ValidationError as error:
        found = {}
        for complaint in error.errors():
            name = str(complaint["loc"][0]) if complaint["loc"] else ""
            if name in settings.model_fields:
                wanted = facts_of(settings, name).wanted
                found[name] = f"{complaint['input']!r} was given; wanted {wanted}."
            else:
                found[name] = str(complaint["msg"]).removeprefix("Value error, ")
        return found
    return {}


def _words_of(name: str) -> str:
    first, *others = name.split("_")
    return " ".join(
        [_SPELT.get(first, first.capitalize()), *(_SPELT.get(word, word) for word in others)]
    )


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0], len(kinds) < len(get_args(annotation))
    return annotation, False


def _limits(field: FieldInfo) -> dict[str, float]:
    return {
        name: limit
        for constraint in field.metadata
        for name in _BOUND_WORDS
        if (limit := getattr(constraint, name, None)) is not None
    }


def _bounds(limits: dict[str, float]) -> str:
    if limits.keys() == {"ge", "le"}:
        return f"from {limits['ge']:g} to {limits['le']:g}"
    return " and ".join(f"{_BOUND_WORDS[name]} {limit:g}" for name, limit in limits.items())
