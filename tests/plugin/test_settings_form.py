"""A form shows a settings class, gives back what was entered, and says what is wrong with it."""

from pathlib import Path

import pytest
from qtpy.QtWidgets import QLabel

from napari_blush.data_model.denoise_settings import DenoiseSettings
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import SettingsError
from napari_blush.plugin.field_facts import facts_of
from napari_blush.plugin.widgets.settings_form import SettingsForm

BASIC = ("particle_diameter", "symmetry", "regularizer", "device")
CLASSES = [RefinementSettings, DenoiseSettings]


@pytest.fixture
def form(application):
    form = SettingsForm(
        RefinementSettings,
        BASIC,
        left_out=("solvent_mask",),
        choices={"regularizer": ("smoothness", "blush")},
    )
    yield form
    form.deleteLater()


@pytest.mark.parametrize("settings", CLASSES)
def test_a_fresh_form_gives_the_defaults(application, settings) -> None:
    form = SettingsForm(settings, [])
    assert form.value() == settings()
    assert set(form.editors) == set(settings.model_fields)
    form.deleteLater()


def test_other_defaults_are_shown_and_restored(application) -> None:
    mine = RefinementSettings(device="cpu", memory_limit=2.0)
    form = SettingsForm(RefinementSettings, BASIC, defaults=mine)
    assert form.value() == mine
    form.set_value(RefinementSettings(seed=4))
    form.restore_defaults()
    assert form.value() == mine
    form.deleteLater()


@pytest.mark.parametrize(
    "changes",
    [
        {"particle_diameter": 123.5, "symmetry": "D2", "regularizer": "blush", "device": "cpu"},
        {"initial_low_pass": None, "threads": 3, "adaptive_fraction": 0.95, "tau2_fudge": 2.5},
        {"solvent_mask": Path("some/mask.mrc"), "zero_mask": False, "healpix_order": 4},
        {"memory_limit": 2.0, "denoiser_stride": 16, "precision": "tf32", "seed": 7},
    ],
)
def test_settings_come_back_as_they_went_in(form, changes) -> None:
    settings = RefinementSettings(**changes)
    form.set_value(settings)
    assert form.value() == settings
    form.restore_defaults()
    kept = {"solvent_mask": settings.solvent_mask}
    assert form.value() == RefinementSettings(**kept)


@pytest.mark.parametrize("text", ["-3", "0", "wide", "1,5"])
def test_what_is_wrong_is_said_beside_the_field(form, text) -> None:
    told = []
    form.value_changed.connect(told.append)
    form.editors["particle_diameter"].set_value(text)
    assert told == ["particle_diameter"]
    problem = form.editors["particle_diameter"].problem
    assert not problem.isHidden()
    assert "wanted a number above 0, or nothing for the default" in problem.text()
    with pytest.raises(SettingsError, match="Particle diameter"):
        form.value()
    form.editors["particle_diameter"].set_value("")
    assert problem.isHidden()
    assert form.value().particle_diameter is None


def test_a_check_from_outside_is_said_beside_its_field(form) -> None:
    form.add_check("symmetry", lambda value: "" if value == "C1" else f"{value} is unknown.")
    form.editors["symmetry"].set_value("X9")
    problem = form.editors["symmetry"].problem
    assert problem.text() == "X9 is unknown."
    assert not problem.isHidden()
    with pytest.raises(SettingsError, match="Symmetry: X9 is unknown"):
        form.value()
    form.editors["symmetry"].set_value("C1")
    assert problem.isHidden()


def test_all_that_is_wrong_is_said_at_once(form) -> None:
    form.add_check("symmetry", lambda value: "" if value == "C1" else f"{value} is unknown.")
    for name, text in {"particle_diameter": "wide", "symmetry": "X9", "threads": "0"}.items():
        form.editors[name].set_value(text)
    assert set(form.problems()) == {"particle_diameter", "symmetry", "threads"}
    assert form.editors["symmetry"].problem.text() == "X9 is unknown."
    form.editors["particle_diameter"].set_value("150")
    assert set(form.problems()) == {"symmetry", "threads"}


def test_an_empty_field_says_what_it_stands_for(form) -> None:
    shown = {
        name: form.editors[name].native.placeholderText() for name in ("denoise_from", "threads")
    }
    assert shown == {"denoise_from": "none", "threads": "default"}
    form.editors["denoise_from"].set_value("soon")
    assert form.editors["denoise_from"].problem.text().endswith("a number above 0, or nothing.")
    form.editors["denoise_from"].set_value("")
    assert form.value().denoise_from is None


def test_names_and_files_are_offered_beside_a_line(form) -> None:
    editor = form.editors["denoiser"]
    editor.offer(["default", "first"], "Weights (*.safetensors)")
    editor.offer(["default", "second"], "Weights (*.safetensors)")
    assert [action.text() for action in editor.menu.actions()] == [
        "default", "second", "", "Browse…",
    ]  # fmt: skip
    editor.menu.actions()[1].trigger()
    assert form.value().denoiser == "second"
    form.enable(["denoiser"], False)
    assert not editor.menu.parentWidget().isEnabled()


def test_a_regularizer_of_somebody_else_can_be_shown(form) -> None:
    form.set_value(RefinementSettings(regularizer="theirs"))
    assert form.value().regularizer == "theirs"


def test_some_fields_are_entered_and_the_others_left_as_they_are(form) -> None:
    told = []
    form.editors["particle_diameter"].set_value("wide")
    form.value_changed.connect(told.append)
    form.enter({"seed": 9, "regularizer": "smoothness"})
    assert told == [""]
    assert form.editors["particle_diameter"].value() == "wide"
    form.editors["particle_diameter"].set_value("")
    assert form.value() == RefinementSettings(seed=9, regularizer="smoothness")


def test_setting_all_is_told_once(form) -> None:
    told = []
    form.value_changed.connect(told.append)
    form.set_value(RefinementSettings(symmetry="C4", seed=3))
    assert told == [""]


def test_fields_know_unit_bounds_and_relions_name() -> None:
    facts = facts_of(RefinementSettings, "particle_diameter")
    assert facts.label == "Particle diameter (Å)"
    assert "[Mask diameter]" in facts.tooltip
    assert facts_of(RefinementSettings, "offset_range").label.endswith("(px)")
    assert facts_of(RefinementSettings, "memory_limit").label.endswith("(GB)")
    order = facts_of(RefinementSettings, "healpix_order")
    assert (order.low, order.high) == (0, 7)
    assert order.wanted == "a whole number from 0 to 7"


@pytest.mark.parametrize("settings", CLASSES)
def test_every_field_is_explained(settings) -> None:
    for name in settings.model_fields:
        assert len(facts_of(settings, name).tooltip) > 10, name


def test_numbers_cannot_leave_their_bounds(form) -> None:
    editor = form.editors["healpix_order"].native
    editor.setValue(99)
    assert form.value().healpix_order == 7


def test_a_field_that_cannot_be_changed_says_why(form) -> None:
    form.enable(["symmetry"], False, "only at the start")
    editor = form.editors["symmetry"]
    assert not editor.native.isEnabled()
    assert "only at the start" in editor.native.toolTip()
    form.enable(["symmetry"], True)
    assert editor.native.isEnabled()
    assert "only at the start" not in editor.native.toolTip()


def test_choices_can_be_exchanged_and_keep_what_was_chosen(form) -> None:
    form.set_value(RefinementSettings(regularizer="blush"))
    form.set_choices("regularizer", ["smoothness", "another"])
    assert form.value().regularizer == "blush"


def test_the_form_fits_a_narrow_dock(form) -> None:
    form.expert.expand(animate=False)
    form.adjustSize()
    assert form.minimumSizeHint().width() <= 330
    assert all(label.wordWrap() for label in form.findChildren(QLabel) if len(label.text()) > 30)
