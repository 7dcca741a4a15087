"""What the manifest declares, napari keeps, and a new run begins with."""

from dataclasses import fields
from pathlib import Path

import npe2
import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils.colormaps import AVAILABLE_COLORMAPS
from pydantic import ValidationError

from napari_blush.data_model.denoise_settings import DenoiseSettings
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.plugin.preferences import DIFFERENCE_COLORS, Preferences, current_preferences
from napari_blush.plugin.run_layers import RunLayers
from napari_blush.plugin.sample_sets import SAMPLES
from napari_blush.plugin.widgets.denoise import DenoiseWidget
from napari_blush.plugin.widgets.set_up import SetUp
from napari_blush.session import RefinementSession

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


def test_docks_begin_with_the_choices_and_go_back_to_them(kept, application) -> None:
    before = SetUp(list).form.value()
    kept.computing.device = "cpu"
    kept.computing.memory_limit_gb = 3.5
    kept.computing.denoise_batch = 4
    chosen = {"device": "cpu", "memory_limit": 3.5}
    assert before == RefinementSettings()
    set_up = SetUp(list)
    denoise = DenoiseWidget(ViewerModel())
    for form, wanted in (
        (set_up.form, RefinementSettings(**chosen)),
        (denoise.form, DenoiseSettings(**chosen, batch_size=4)),
    ):
        assert form.value() == wanted
        form.editors["device"].set_value("cuda")
        form.editors["memory_limit"].set_value("")
        form.restore.click()
        assert form.value() == wanted
    for sample in SAMPLES:
        set_up.use_sample(sample)
        assert {name: getattr(set_up.form.value(), name) for name in chosen} == chosen
    denoise.leave()


def test_layers_of_a_run_have_the_chosen_colors(kept) -> None:
    kept.display.half1_color = "cyan"
    kept.display.denoised_color = "yellow"
    kept.display.difference_color = "green to magenta"
    viewer, session = ViewerModel(), RefinementSession()
    layers = RunLayers(viewer, session, "run", preferences=current_preferences())
    values = torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(1))
    for role in ("half1", "half2", "denoised1", "change"):
        layers.board.show(role, values, 3.0)
    found = {role: layer.colormap.name for role, layer in layers.board.layers().items()}
    assert (found["half1"], found["half2"], found["denoised1"]) == ("cyan", "gray", "yellow")
    colors = layers.board.layer("change").colormap.colors
    less, more = DIFFERENCE_COLORS["green to magenta"]
    assert np.allclose(colors[0, :3], less, atol=0.01)
    assert np.allclose(colors[-1, :3], more, atol=0.01)
    layers.close()


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
