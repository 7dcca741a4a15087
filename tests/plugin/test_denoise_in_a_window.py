"""A person picks a layer, presses Denoise, and gets a layer that says what it is."""

import napari
import numpy as np
import pytest
import torch

from napari_blush.denoiser.inference import DenoiseOptions, denoise_volume
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import load_denoiser, save_denoiser
from napari_blush.plugin.widgets.denoise import DenoiseWidget

N, VOXEL = 32, 2.0


@pytest.fixture
def viewer(application):
    viewer = napari.Viewer(ndisplay=2)
    viewer.window.set_geometry(0, 0, 700, 400)
    yield viewer
    viewer.close()
    application.processEvents()


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "tiny.safetensors"
    save_denoiser(path, BlushUNet(2, 2), {"voxel_size": 3.0, "block_size": 16, "name": "tiny"})
    return path


@pytest.fixture
def dock(viewer, weights, wait_until) -> DenoiseWidget:
    dock = DenoiseWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Denoise", area="right")
    dock.form.editors["denoiser"].set_value(str(weights))
    dock.form.editors["device"].set_value("cpu")
    wait_until(lambda: dock._engine is not None)
    return dock


@pytest.fixture
def noisy(viewer, generator):
    values = torch.randn(N, N, N, generator=generator).numpy()
    return viewer.add_image(
        values, name="noisy", scale=(VOXEL,) * 3, units=("angstrom",) * 3, translate=(5, 6, 7)
    )


def test_a_layer_is_denoised_into_a_new_layer(dock, viewer, noisy, weights, wait_until) -> None:
    assert dock.start.isEnabled()
    dock.start.click()
    assert dock.is_busy
    assert not dock.start.isEnabled()
    assert dock.cancel.isEnabled()
    wait_until(lambda: len(viewer.layers) == 3)
    wait_until(lambda: not dock.is_busy)
    made = viewer.layers["noisy · denoised, for alignment only"]
    expected = denoise_volume(
        torch.from_numpy(noisy.data), VOXEL, load_denoiser(weights), DenoiseOptions()
    )
    assert np.allclose(made.data, expected.volume.numpy(), atol=1e-5)
    assert tuple(made.scale) == (VOXEL,) * 3
    assert tuple(made.translate) == (5, 6, 7)
    assert tuple(made.contrast_limits) == tuple(noisy.contrast_limits)
    assert "sha256" in made.metadata["weights"]
    change = viewer.layers["noisy · change (sigma)"]
    assert not change.visible
    assert np.allclose(change.data * noisy.data.std(), made.data - noisy.data, atol=1e-4)
    assert "Denoised on cpu with tiny" in dock.state.text()
    assert dock.layer.count() == 3


def test_cancelling_makes_no_layer(dock, viewer, noisy, wait_until, application) -> None:
    dock.form.editors["batch_size"].set_value("1")
    dock.form.editors["stride"].set_value("2")
    dock.start.click()
    wait_until(lambda: dock.bar.value() > 0)
    dock.cancel.click()
    wait_until(lambda: not dock.is_busy)
    application.processEvents()
    assert list(viewer.layers) == [noisy]
    assert dock.state.text() == "Cancelled."


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("denoiser", "no such", "wanted one of"), ("mask", "missing.mrc", "does not exist")],
)
def test_what_cannot_be_done_is_said(dock, noisy, wait_until, field, value, words) -> None:
    dock.form.editors[field].set_value(value)
    dock.start.click()
    wait_until(lambda: not dock.is_busy)
    assert words in dock.state.text()


def test_layers_that_are_no_maps_are_not_offered(dock, viewer, noisy) -> None:
    viewer.add_image(np.zeros((4, 8, 8)), name="stack")
    viewer.add_points(np.zeros((1, 3)))
    assert [dock.layer.itemText(i) for i in range(dock.layer.count())] == ["noisy"]
    viewer.layers.remove(noisy)
    assert not dock.start.isEnabled()
