"""What the manifest declares, napari keeps, and a new run begins with."""

from dataclasses import fields
from pathlib import Path

import npe2
import pytest
from napari.utils.colormaps import AVAILABLE_COLORMAPS
from pydantic import ValidationError

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.plugin.preferences import DIFFERENCE_COLORS, Preferences, current_preferences

MANIFEST = Path(__file__).parents[2] / "napari.yaml"


@pytest.fixture
def kept(plugin_settings, npe2pm):
    from napari.settings import get_plugin_settings  # noqa: PLC0415  redirected by the fixture

    npe2pm.register(npe2.PluginManifest.from_file(MANIFEST))
    return get_plugin_settings("napari-blush")


def test_what_nobody_chose_is_the_default(kept) -> None:
    assert current_preferences() == Preferences()


def test_choices_come_back(kept) -> None:
    kept.computing.device = "cpu"
    kept.computing.memory_limit_gb = 3.5
    kept.computing.denoise_batch = 4
    kept.display.iterations_memory_gb = 0.25
    kept.display.half1_color = "cyan"
    kept.display.half2_color = "magenta"
    kept.display.denoised_color = "yellow"
    kept.display.difference_color = "cyan to red"
    assert current_preferences() == Preferences(
        "cpu", 3.5, 4, 0.25, "cyan", "magenta", "yellow", "cyan to red"
    )
    assert current_preferences().settings == {"device": "cpu", "memory_limit": 3.5}
    RefinementSettings(**current_preferences().settings)
    with pytest.raises(ValidationError):
        kept.computing.device = "abacus"


def test_without_the_plugin_there_are_defaults(plugin_settings) -> None:
    assert current_preferences() == Preferences()


def test_every_choice_is_declared_and_every_color_is_there() -> None:
    declared = {
        name: facts
        for group in npe2.PluginManifest.from_file(MANIFEST).contributions.configurations.values()
        for name, facts in group.properties.items()
    }
    assert set(declared) == {field.name for field in fields(Preferences)}
    for name in ("half1_color", "half2_color", "denoised_color"):
        assert set(declared[name].enum) <= set(AVAILABLE_COLORMAPS)
    assert declared["difference_color"].enum == list(DIFFERENCE_COLORS)
    assert set(RefinementSettings.model_json_schema()["properties"]["device"]["enum"]) == set(
        declared["device"].enum
    )
