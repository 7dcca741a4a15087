"""A form made from a settings class: basic fields in sight, the others behind *Expert*."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QGridLayout, QPushButton, QVBoxLayout, QWidget
from superqt import QCollapsible
from superqt.utils import signals_blocked

from napari_blush.data_model.settings import Settings
from napari_blush.errors import SettingsError
from napari_blush.plugin.field_facts import facts_of, problems_of
from napari_blush.plugin.widgets.field_editor import FieldEditor

SettingsT = TypeVar("SettingsT", bound=Settings)


class SettingsForm(QWidget, Generic[SettingsT]):
    """Edits settings of one class; knows no run.

    Parameters
    ----------
    settings : type of Settings
    basic : sequence of str
        Fields in sight, in this order; the others are behind *Expert*, in the class's order.
    left_out : collection of str, optional
        Fields that are asked for elsewhere; they keep what ``set_value`` gave them.
    choices : mapping of str to sequence of str, optional
        What a text field offers.
    defaults : Settings, optional
        What the form shows at first and *Restore defaults* brings back; those of the class.
    parent : QWidget, optional
    """

    value_changed = Signal(str)
    """A field was changed, by name; empty when all were."""

    def __init__(
        self,
        settings: type[SettingsT],
        basic: Sequence[str],
        left_out: Collection[str] = (),
        choices: Mapping[str, Sequence[str]] | None = None,
        defaults: SettingsT | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._settings = settings
        self.defaults = settings() if defaults is None else defaults
        self._kept: dict[str, Any] = {
            name: settings.model_fields[name].default for name in left_out
        }
        self.editors: dict[str, FieldEditor] = {}
        self._checks: dict[str, Callable[[Any], str]] = {}
        expert = [name for name in settings.model_fields if name not in (*basic, *self._kept)]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._grid_of(basic, choices or {}))
        # Icons would keep the colour of the theme that they were made in; words take on another.
        self.expert = QCollapsible("", self, expandedIcon=QIcon(), collapsedIcon=QIcon())
        self.expert.toggled.connect(self._name_expert)
        self._name_expert()
        self.expert.addWidget(self._grid_of(expert, choices or {}))
        around = self.expert.layout()
        if around is not None:
            around.setContentsMargins(0, 0, 0, 0)
        self.restore = QPushButton("Restore defaults")
        self.restore.setToolTip("Set every field back to its default")
        self.restore.clicked.connect(lambda: self.restore_defaults())
        if expert:
            layout.addWidget(self.expert)
        layout.addWidget(self.restore)
        self.set_value(self.defaults)

    def value(self) -> SettingsT:
        """Return the settings as entered.

        Raises
        ------
        SettingsError
            When a field cannot be so, in a sentence that names it.
        """
        for name, problem in self.problems().items():
            label = self.editors[name].facts.label if name in self.editors else name
            raise SettingsError(f"{label}: {problem}")
        return self._settings.model_validate(self._values())

    def set_value(self, settings: SettingsT) -> None:
        """Enter settings; tells of it once."""
        for name in self._kept:
            self._kept[name] = getattr(settings, name)
        for name, editor in self.editors.items():
            with signals_blocked(editor):
                editor.set_value(getattr(settings, name))
        self._changed("")

    def enter(self, values: Mapping[str, Any]) -> None:
        """Enter some settings and leave the others as they are; tells of it once."""
        for name, value in values.items():
            with signals_blocked(self.editors[name]):
                self.editors[name].set_value(value)
        self._changed("")

    def set_choices(self, name: str, choices: Sequence[str]) -> None:
        """Offer other values for a field; what is chosen stays chosen where it can."""
        editor = self.editors[name]
        chosen = editor.value()
        with signals_blocked(editor):
            editor.widget.choices = (
                choices if chosen in choices or not chosen else [chosen, *choices]
            )

    def restore_defaults(self) -> None:
        """Enter the defaults; fields that are asked for elsewhere stay."""
        self.set_value(self.defaults.model_copy(update=self._kept))

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by field; empty when nothing is."""
        values = self._values()
        problems = problems_of(self._settings, values)
        if "" in problems:
            return problems  # fields contradict each other
        # One wrong field is not to keep another from being judged.
        sound = {**values, **{name: getattr(self.defaults, name) for name in problems}}
        settings = self._settings.model_validate(sound)
        for name, check in self._checks.items():
            problem = "" if name in problems else check(getattr(settings, name))
            if problem:
                problems[name] = problem
        return problems

    def add_check(self, name: str, check: Callable[[Any], str]) -> None:
        """Ask a function what is wrong with the value of a field; it returns a sentence or ''."""
        self._checks[name] = check
        self.check_again()

    def check_again(self) -> None:
        """Judge all fields anew: what they are judged by has changed."""
        self._changed("")

    def enable(self, names: Collection[str], enabled: bool, reason: str = "") -> None:
        """Let fields be changed, or say in their help why they cannot be."""
        for name in names:
            if name in self.editors:
                self.editors[name].enable(enabled, reason)

    def _name_expert(self, *_: Any) -> None:
        self.expert.setText(f"{'▾' if self.expert.isExpanded() else '▸'}  Expert settings")

    def _values(self) -> dict[str, Any]:
        return {**self._kept, **{name: editor.value() for name, editor in self.editors.items()}}

    def _grid_of(self, names: Sequence[str], choices: Mapping[str, Sequence[str]]) -> QWidget:
        page = QWidget(self)
        grid = QGridLayout(page)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        for name in names:
            facts = facts_of(self._settings, name)
            if name in choices:
                facts = replace(facts, choices=tuple(choices[name]))
            editor = self.editors[name] = FieldEditor(facts, self)
            editor.add_to(grid)
            editor.changed.connect(self._changed)
        return page

    def _changed(self, name: str) -> None:
        problems = self.problems()
        for field, editor in self.editors.items():
            editor.complain(problems.get(field, ""))
        self.value_changed.emit(name)
