"""A person picks layers, looks at a preview, denoises, and moves the sliders."""

from types import SimpleNamespace

import napari
import numpy as np
import pytest
import torch

from napari_blush.denoiser.inference import DenoiseOptions, denoise_volume
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import load_denoiser, save_denoiser
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere
from napari_blush.plugin.widgets.denoise import DenoiseWidget
from napari_blush.regularization.spectral_trailing import cutoff_shell, limited, spectral_limit

N, VOXEL = 48, 3.0
DENOISED, CHANGE = "denoised, for alignment only · half 1", "change (sigma) · half 1"


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
def halves(generator) -> list[np.ndarray]:
    signal = low_pass(torch.randn(N, N, N, generator=generator), VOXEL, 15.0)
    signal = signal / signal.std() * soft_sphere(N, 14.0, 4.0)
    return [(signal + torch.randn(N, N, N, generator=generator)).numpy() for _ in (1, 2)]


@pytest.fixture
def layers(viewer, halves):
    where = {"scale": (VOXEL,) * 3, "units": ("angstrom",) * 3, "translate": (5, 6, 7)}
    second = viewer.add_image(halves[1], name="half 2", **where)
    first = viewer.add_image(halves[0], name="half 1", **where)
    viewer.reset_view()
    return first, second


@pytest.fixture
def dock(viewer, layers, weights, wait_until) -> DenoiseWidget:
    dock = DenoiseWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Denoise", area="right")
    dock.weights.set_value(str(weights))
    dock.form.editors["device"].set_value("cpu")
    dock.form.editors["precision"].set_value("float32")
    wait_until(lambda: dock._engine is not None)
    return dock


def expected(values: np.ndarray, weights, **options) -> torch.Tensor:
    asked = DenoiseOptions(precision="float32", **options)
    return denoise_volume(torch.from_numpy(values), VOXEL, load_denoiser(weights), asked).volume


def made(dock, viewer, wait_until, n_layers: int) -> None:
    dock.start.click()
    wait_until(lambda: len(viewer.layers) == n_layers and not dock.is_busy)


def test_a_layer_is_denoised_and_blended(dock, viewer, layers, weights, wait_until) -> None:
    first, _ = layers
    assert dock.layer.layer() is first
    assert not dock.trailing.isEnabled()
    dock.start.click()
    assert dock.is_busy
    assert not dock.start.isEnabled()
    wait_until(lambda: len(viewer.layers) == 4 and not dock.is_busy)
    shown, change = viewer.layers[DENOISED], viewer.layers[CHANGE]
    whole = expected(first.data, weights).numpy()
    assert np.allclose(shown.data, whole, atol=1e-5)
    assert tuple(shown.scale) == (VOXEL,) * 3
    assert tuple(shown.translate) == (5, 6, 7)
    assert [str(unit) for unit in shown.units] == ["angstrom"] * 3
    assert tuple(shown.contrast_limits) == tuple(first.contrast_limits)
    assert "sha256" in shown.metadata["weights"]
    assert not change.visible
    assert np.allclose(change.data * first.data.std(), whole - first.data, atol=1e-4)
    assert "Denoised in" in dock.jobs.state.text()
    assert "on the CPU, weights tiny" in dock.jobs.state.text()
    dock.strength.set_value(25)
    half_way = first.data + 0.25 * (whole - first.data)
    wait_until(lambda: np.allclose(shown.data, half_way, atol=1e-4))
    wait_until(
        lambda: np.allclose(change.data * first.data.std(), half_way - first.data, atol=1e-4)
    )
    viewer.layers.remove(shown)
    dock.strength.set_value(0)
    wait_until(lambda: dock.made._blender is None)


def test_two_halves_are_cut_off_and_all_recycles_kept(
    dock, viewer, layers, weights, halves, wait_until
) -> None:
    mask = soft_sphere(N, 12.0, 3.0)
    mask_layer = viewer.add_image(mask.numpy(), name="mask", scale=(VOXEL,) * 3)
    dock.layer.choose(layers[0])
    dock.other_half.choose(layers[1])
    dock.mask_layer.choose(mask_layer)
    assert dock.trailing.isEnabled()
    dock.trailing.setChecked(True)
    dock.recycles.setValue(1)
    made(dock, viewer, wait_until, 7)
    once = expected(halves[0], weights, mask=mask)
    twice = expected(once.numpy(), weights, mask=mask)
    fsc = fourier_shell_correlation(*map(torch.from_numpy, halves))
    limit = spectral_limit(fsc, N / 2)
    shown = viewer.layers[DENOISED]
    nothing = torch.zeros_like(once)
    assert np.allclose(shown.data, limited(twice, nothing, limit).numpy(), atol=1e-4)
    assert f"Cut off at {N * VOXEL / cutoff_shell(fsc):.1f} Å" in dock.jobs.state.text()
    assert dock.recycle.value() == 1
    dock.recycle.set_value(0)
    wait_until(lambda: np.allclose(shown.data, limited(once, nothing, limit).numpy(), atol=1e-4))
    assert not viewer.layers["denoised, for alignment only · half 2"].visible


def test_a_preview_is_the_whole_in_its_place(
    dock, viewer, layers, weights, halves, wait_until
) -> None:
    dock.preview.click()
    wait_until(lambda: len(viewer.layers) == 3 and not dock.is_busy)
    preview, first = viewer.layers["preview"], layers[0]
    whole = expected(halves[0], weights).numpy()

    def is_right() -> bool:
        start = np.round((preview.translate - first.translate) / VOXEL).astype(int)
        place = tuple(slice(s, s + n) for s, n in zip(start, preview.data.shape, strict=True))
        return np.allclose(preview.data, whole[place], atol=1e-4)

    assert is_right()
    assert preview.data.shape == (8, 8, 8)
    assert "blocks" in dock.jobs.state.text()
    before = preview.translate
    viewer.dims.set_point(0, 5 + 10 * VOXEL)
    job = dock._job
    dock.preview.click()
    wait_until(lambda: preview.translate[0] != before[0] and not dock.is_busy)
    assert preview.translate[0] == pytest.approx(5 + 6 * VOXEL)
    assert is_right()
    assert len(viewer.layers) == 3
    assert dock._job is job
    # Alt+click in the slice: there.
    before = preview.translate
    event = SimpleNamespace(modifiers=["Alt"], position=(35.0, 6 + 20 * VOXEL, 7 + 30 * VOXEL))
    for callback in viewer.mouse_drag_callbacks:
        if callback == dock._on_click:
            callback(viewer, event)
    wait_until(lambda: preview.translate[1] != before[1] and not dock.is_busy)
    assert tuple(preview.translate[1:]) == pytest.approx((6 + 16 * VOXEL, 7 + 26 * VOXEL))
    assert is_right()


def test_cancelling_makes_no_layer(dock, viewer, layers, wait_until, application) -> None:
    dock.form.editors["batch_size"].set_value("1")
    dock.form.editors["stride"].set_value("2")
    dock.start.click()
    wait_until(lambda: dock.jobs.bar.value() > 0)
    dock.jobs.cancel.click()
    wait_until(lambda: not dock.is_busy)
    application.processEvents()
    assert len(viewer.layers) == 2
    assert dock.jobs.state.text() == "Cancelled."


def test_what_cannot_be_done_is_said(dock, viewer, layers, wait_until) -> None:
    dock.weights.set_value("no such")
    dock.start.click()
    wait_until(lambda: not dock.is_busy)
    assert "wanted one of" in dock.jobs.state.text()
    other = viewer.add_image(np.zeros((8, 8, 8)), name="small")
    dock.layer.choose(layers[0])
    dock.mask_layer.choose(other)
    dock.start.click()
    assert "wanted one grid" in dock.jobs.state.text()
    assert not dock.is_busy


def test_layers_that_are_no_maps_are_not_offered(dock, viewer, layers) -> None:
    viewer.add_image(np.zeros((4, 8, 8)), name="stack")
    viewer.add_points(np.zeros((1, 3)))
    assert dock.layer.offered() == list(layers)
    layers[0].name = "renamed"
    assert dock.layer.currentText() == "renamed"
    for layer in layers:
        viewer.layers.remove(layer)
    assert not dock.start.isEnabled()
    assert not dock.preview.isEnabled()


def test_a_dock_that_is_taken_away_leaves_nothing(dock, viewer, layers, wait_until) -> None:
    dock.form.editors["batch_size"].set_value("1")
    dock.form.editors["stride"].set_value("2")
    dock.start.click()
    wait_until(lambda: dock.jobs.bar.value() > 0)
    viewer.window.remove_dock_widget(dock)
    wait_until(lambda: not dock.is_busy)
    assert dock._on_click not in viewer.mouse_drag_callbacks
    viewer.add_image(np.zeros((8, 8, 8)), name="later")
    assert "later" not in [layer.name for layer in dock.layer.offered()]
    assert len(viewer.layers) == 3
