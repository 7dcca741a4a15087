"""A settings class as command-line options, and parsed options as settings.

Each field of a pydantic model becomes one option: its name, type, bounds, choices, default and
description are the field's own, so the command line cannot drift from the settings file and the
forms. Knows argparse and pydantic, no command and no computation.
"""

import argparse
import difflib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from napari_blush.data_model.settings import Settings
from napari_blush.errors import SettingsError

SettingsT = TypeVar("SettingsT", bound=Settings)

_NONE_WORD = "none"
_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "FILE"}
_BOUND_WORDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def add_settings_options(
    parser: argparse.ArgumentParser,
    settings: type[Settings],
    aliases: Mapping[str, str] | None = None,
) -> None:
    """Add one option for each field of a settings class.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Options that are not given leave no attribute, so that defaults stay the model's.
    settings : type of Settings
        Fields may be ``bool``, ``int``, ``float``, ``str``, ``Path``, a ``Literal`` of words, a
        tuple of these of fixed length, or any of them ``| None``.
    aliases : mapping of str to str, optional
        Another option name for a field, such as ``{"solvent_mask": "--mask"}``.
    """
    if not settings.model_fields:
        parser.set_defaults(settings=None)
        return
    group = parser.add_argument_group("settings")
    for name, field in settings.model_fields.items():
        flags = [f"--{name.replace('_', '-')}"]
        if aliases and name in aliases:
            flags.insert(0, aliases[name])
        kind, _ = _without_none(field.annotation)
        common: dict[str, Any] = {
            "dest": name,
            "default": argparse.SUPPRESS,
            "help": _help_text(field),
        }
        if kind is bool:
            group.add_argument(*flags, action=argparse.BooleanOptionalAction, **common)
        elif get_origin(kind) is tuple:
            parts = get_args(kind)
            names = tuple(_METAVARS[part] for part in parts)
            group.add_argument(*flags, nargs=len(parts), metavar=names, **common)
        else:
            group.add_argument(*flags, type=_Parser(field), metavar=_metavar(kind), **common)
    group.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="read settings from a YAML file; options given here win over it",
    )


def settings_from_options(settings: type[SettingsT], options: argparse.Namespace) -> SettingsT:
    """Build settings from defaults, then ``--settings FILE``, then the options given.

    Raises
    ------
    SettingsError
        A value is out of range, or the file holds something else than settings of this class.
    """
    try:
        return settings.model_validate(given_settings(settings, options))
    except ValidationError as error:
        raise SettingsError(_sentence(error, settings)) from error


def given_settings(settings: type[Settings], options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that file and command line name, without defaults, not validated yet."""
    values: dict[str, Any] = {}
    if options.settings is not None:
        values.update(read_settings_file(options.settings, settings))
    values.update({k: v for k, v in vars(options).items() if k in settings.model_fields})
    return values


def read_settings_file(path: Path, settings: type[Settings]) -> dict[str, Any]:
    """Return the fields of ``settings`` that a YAML file sets, not validated yet.

    The file is a mapping of field names to values; that a run leaves in its folder carries them
    under ``settings``, beside versions that are ignored here.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"The settings file {path} cannot be read: {reason}.") from error
    if isinstance(content, dict) and isinstance(content.get("settings"), dict):
        content = content["settings"]
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no settings; wanted lines such as 'symmetry: C1'.")
    for name in content:
        if name not in settings.model_fields:
            raise SettingsError(f"{path} sets {name!r}, which is unknown{_nearest(name, settings)}")
    return content


class _Parser:
    """Turns the text of one option into the field's value; argparse prints what it raises."""

    def __init__(self, field: FieldInfo) -> None:
        annotation: Any = field.annotation
        self._field = field
        self._adapter: TypeAdapter[Any] = TypeAdapter(
            Annotated[annotation, *field.metadata] if field.metadata else annotation
        )

    def __call__(self, text: str) -> Any:
        """Return the value of ``text``, checked against the field's type and bounds."""
        _, may_be_none = _without_none(self._field.annotation)
        if may_be_none and text.lower() == _NONE_WORD:
            return None
        try:
            return self._adapter.validate_python(text)
        except ValidationError as error:
            message = f"{text!r} was given; wanted {_wanted(self._field)}"
            raise argparse.ArgumentTypeError(message) from error


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Split ``T | None`` into ``T`` and whether None was allowed."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0], len(kinds) < len(get_args(annotation))
    return annotation, False


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "{" + ",".join(str(choice) for choice in get_args(kind)) + "}"
    return _METAVARS[kind]


def _bounds(field: FieldInfo) -> str:
    """Return the bounds of a field in words: ``from 0 to 7``, ``above 0``."""
    limits = {
        name: limit
        for constraint in field.metadata
        for name in _BOUND_WORDS
        if (limit := getattr(constraint, name, None)) is not None
    }
    if limits.keys() == {"ge", "le"}:
        return f"from {limits['ge']:g} to {limits['le']:g}"
    return " and ".join(f"{_BOUND_WORDS[name]} {limit:g}" for name, limit in limits.items())


def _wanted(field: FieldInfo) -> str:
    """Return what a field takes, in words."""
    kind, may_be_none = _without_none(field.annotation)
    if get_origin(kind) is Literal:
        what = "one of " + ", ".join(str(choice) for choice in get_args(kind))
    elif get_origin(kind) is tuple:
        what = f"{len(get_args(kind))} values"
    else:
        what = {int: "a whole number", float: "a number", str: "a text", Path: "a file"}[kind]
    bounds = _bounds(field)
    or_none = f", or '{_NONE_WORD}'" if may_be_none else ""
    return f"{what} {bounds}".rstrip() + or_none


def _help_text(field: FieldInfo) -> str:
    """Return description, bounds and default, as argparse wants them."""
    notes = [_bounds(field)] if _bounds(field) else []
    default = field.default
    if isinstance(default, bool):
        notes.append(f"default: {'on' if default else 'off'}")
    elif isinstance(default, tuple):
        notes.append("default: " + " ".join(f"{value:g}" for value in default))
    elif default is not None:
        notes.append(
            f"default: {default:g}" if isinstance(default, float) else f"default: {default}"
        )
    description = (field.description or "").rstrip(".")
    text = f"{description} ({'; '.join(notes)})" if notes else description
    return text.replace("%", "%%")


def _nearest(name: object, settings: type[Settings]) -> str:
    close = difflib.get_close_matches(str(name), settings.model_fields, n=1)
    return f"; did you mean {close[0]!r}?" if close else "; see --help for what there is."


def _sentence(error: ValidationError, settings: type[Settings]) -> str:
    """Return the first complaint of pydantic as one sentence of ours."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if name in settings.model_fields:
        field = settings.model_fields[name]
        return f"The setting {name} was given {first['input']!r}; wanted {_wanted(field)}."
    return str(first["msg"]).removeprefix("Value error, ").rstrip(".") + "."
