"""A person picks two half-maps and presses the buttons of the Validate dock."""

import napari
import numpy as np
import pytest
import torch

from napari_blush.cli.report import Report
from napari_blush.cli.validate_denoiser import judged_weights
from napari_blush.cli.validate_files import HalfMapFiles
from napari_blush.data_model.validation_settings import DenoiserCheckSettings
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import save_denoiser
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.io.run_settings import RunSource
from napari_blush.io.star import read_particles
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere
from napari_blush.plugin import show_local_resolution
from napari_blush.plugin.widgets.validate import ValidateWidget
from napari_blush.refine.keeping import RunKeeper
from napari_blush.refine.run_in_folder import RunRequest, opened
from napari_blush.validation.half_map_checks import half_map_report
from napari_blush.validation.judged_poses import judged_poses
from napari_blush.validation.local_resolution import LocalOptions, local_resolution
from napari_blush.validation.resolution import resolution_report

N, VOXEL = 40, 3.0


@pytest.fixture
def viewer(application):
    viewer = napari.Viewer(ndisplay=2)
    viewer.window.set_geometry(0, 0, 700, 400)
    yield viewer
    viewer.close()
    application.processEvents()


@pytest.fixture
def halves(generator) -> tuple[torch.Tensor, torch.Tensor]:
    signal = low_pass(torch.randn(N, N, N, generator=generator), VOXEL, 8.0)
    signal = (signal / signal.std() + 1) * soft_sphere(N, 10.0, 3.0)
    first, second = (signal + 0.7 * torch.randn(N, N, N, generator=generator) for _ in (1, 2))
    return first, second


@pytest.fixture
def dock(viewer, halves, wait_until) -> ValidateWidget:
    where = {"scale": (VOXEL,) * 3, "units": ("angstrom",) * 3, "translate": (30, 60, 90)}
    viewer.add_image(np.zeros((N, N, N), np.float32), name="something else", **where)
    for number, half in enumerate(halves, start=1):
        viewer.add_image(half.numpy(), name=f"run_half{number}_class001_unfil", **where)
    viewer.add_image(np.zeros((N, N, N), np.float32), name="on top", **where)
    dock = ValidateWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Validate", area="right")
    wait_until(lambda: dock._engine is not None)
    return dock


def over(dock, wait_until, application) -> None:
    wait_until(lambda: not dock.is_busy)
    application.processEvents()
    wait_until(lambda: not dock.is_busy)
    application.processEvents()


def test_poses_of_a_run_folder_are_judged_without_half_maps(
    viewer, tiny_files, tmp_path, wait_until, application
) -> None:
    run_folder = tmp_path / "run"
    request = RunRequest(
        read_particles(tiny_files.particles),
        read_map(tiny_files.reference),
        run_folder,
        tiny_files.settings.model_copy(update={"regularizer": "smoothness", "max_iterations": 1}),
        RunSource(tiny_files.particles, tiny_files.reference),
    )
    with opened(request) as (writer, events):
        keep = RunKeeper(writer)
        for event in events:
            keep(event)
    dock = ValidateWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Validate", area="right")
    wait_until(lambda: dock._engine is not None)
    assert not dock.poses.isEnabled()
    dock.run.set_value(run_folder)
    assert dock.poses.isEnabled()
    assert not dock.resolution.isEnabled()
    dock.poses.click()
    over(dock, wait_until, application)
    for check in judged_poses(run_folder, "C1").section.checks:
        assert check.value in dock.verdict.text()
    dock.run.set_value(tmp_path)
    dock.poses.click()
    over(dock, wait_until, application)
    assert "settings.yaml" in dock.jobs.state.text()


def test_halves_are_paired_by_name_and_judged(
    dock, viewer, halves, wait_until, application, tmp_path
) -> None:
    assert dock.half1.currentText() == "run_half1_class001_unfil"
    assert dock.half2.currentText() == "run_half2_class001_unfil"
    assert not dock.against_model.isEnabled()
    dock.resolution.click()
    assert dock.is_busy
    assert not dock.local.isEnabled()
    over(dock, wait_until, application)
    expected = half_map_report(*halves, resolution_report(*halves, VOXEL))
    for check in expected.checks:
        assert check.value in dock.verdict.text()
    curve = dock.plot.table()[1]
    assert [row[2] for row in curve] == pytest.approx(expected.resolution.fsc.corrected.tolist())
    mask = viewer.layers["automatic mask · run_half1_class001_unfil"]
    assert np.allclose(mask.data, expected.resolution.mask.numpy())
    assert tuple(mask.translate) == (30, 60, 90)
    dock.directional.click()
    over(dock, wait_until, application)
    assert "sphericity" in dock.verdict.text()
    dock.write_report(tmp_path / "report.html")
    over(dock, wait_until, application)
    page = (tmp_path / "report.html").read_text()
    for title in ("Half-maps", "Directions", "Local resolution"):
        assert f"<h2>{title}</h2>" in page
    assert "Wrote" in dock.jobs.state.text()


def test_a_surface_is_coloured_by_local_resolution(
    dock, viewer, halves, wait_until, application
) -> None:
    dock.local.click()
    name = "surface by local resolution · run_half1_class001_unfil"
    wait_until(lambda: name in viewer.layers and not dock.is_busy)
    whole = resolution_report(*halves, VOXEL)
    asked = LocalOptions(step=3)  # as 'validate' does
    expected = local_resolution(*halves, VOXEL, whole.resolution, whole.mask, asked)
    shown = viewer.layers["local resolution (Å) · run_half1_class001_unfil"]
    assert np.allclose(shown.data, expected.resolution.numpy(), atol=1e-4)
    surface = viewer.layers[name]
    assert viewer.dims.ndisplay == 3
    assert surface.colorbar.visible
    between = np.quantile(surface.vertex_values, (0.05, 0.95))
    assert tuple(surface.contrast_limits) == pytest.approx(tuple(between), abs=1e-3)
    low, high = expected.quantiles((0.05, 0.95))
    assert tuple(shown.contrast_limits) == pytest.approx((low, high), abs=1e-3)
    assert surface.vertices.min() >= 30
    voxels = (surface.vertices - np.array([30, 60, 90])) / VOXEL
    nearest = expected.resolution.numpy()[tuple(np.round(voxels).astype(int).T)]
    assert np.abs(surface.vertex_values - nearest).mean() < 0.5
    before = len(surface.vertices)
    dock.contour.set_value(40)
    wait_until(lambda: len(surface.vertices) != before and not dock.is_busy)
    assert sum(layer.name == name for layer in viewer.layers) == 1


def test_random_phases_go_through_the_denoiser(
    dock, viewer, wait_until, application, tmp_path
) -> None:
    torch.manual_seed(1)
    path = tmp_path / "tiny.safetensors"
    save_denoiser(path, BlushUNet(2, 2), {"voxel_size": 3.0, "block_size": 16, "name": "tiny"})
    dock.weights.set_value(str(path))
    dock.randomization.click()
    wait_until(lambda: dock.jobs.bar.value() > 100)
    dock.jobs.cancel.click()
    over(dock, wait_until, application)
    assert dock.jobs.state.text() == "Cancelled."
    assert not dock.verdict.isVisible()
    dock.randomization.click()
    over(dock, wait_until, application)
    text = dock.verdict.text()
    assert "made by the mask" in text
    assert "gained by denoising" in text
    assert "green" in text or "yellow" in text or "red" in text
    assert "weights tiny" in text


def test_the_denoiser_is_as_steady_as_the_command_line_says(
    dock, viewer, halves, wait_until, application, tmp_path
) -> None:
    torch.manual_seed(1)
    path = tmp_path / "tiny.safetensors"
    save_denoiser(path, BlushUNet(2, 2), {"voxel_size": 3.0, "block_size": 16, "name": "tiny"})
    dock.weights.set_value(str(path))
    dock.steadiness.click()
    wait_until(lambda: dock.jobs.bar.value() > 150)
    dock.jobs.cancel.click()
    over(dock, wait_until, application)
    assert "steadiness" not in dock._job.found
    dock.steadiness.click()
    over(dock, wait_until, application)
    mask = resolution_report(*halves, VOXEL).mask
    files = HalfMapFiles(MapFile(halves[0], VOXEL), MapFile(halves[1], VOXEL), mask, True)
    settings = DenoiserCheckSettings(denoiser=str(path), device="cpu")
    expected = judged_weights(files, settings, Report())[1]
    found = dock._job.found["steadiness"].section
    assert found.checks == expected.checks
    assert found.notes == ["Weights tiny.", *expected.notes]
    assert "power when recycled" in dock.verdict.text()


@pytest.mark.parametrize("what", ["resolution", "directional", "local"])
def test_a_cancelled_judgment_finds_nothing(
    dock, viewer, halves, wait_until, application, what
) -> None:
    layers = list(viewer.layers)
    getattr(dock, what).click()
    dock.jobs.cancel.click()
    over(dock, wait_until, application)
    assert dock.jobs.state.text() == "Cancelled."
    assert not dock.verdict.isVisible()
    assert list(viewer.layers) == layers
    assert dock._job.found == {}
    getattr(dock, what).click()
    over(dock, wait_until, application)
    assert set(dock._job.found) == {what}


def test_a_window_may_close_under_a_judgment(dock, viewer, wait_until, application) -> None:
    jobs = dock.jobs
    dock.directional.click()
    dock.setParent(None)
    dock.deleteLater()
    application.sendPostedEvents(None, 52)  # deletions that were put off
    assert jobs._is_gone
    wait_until(lambda: not jobs.is_busy)
    assert jobs._worker is None


def test_what_cannot_be_done_is_said(dock, viewer, wait_until, tmp_path) -> None:
    dock.half2.choose(dock.half1.layer())
    dock.resolution.click()
    assert "both halves" in dock.jobs.state.text()
    small = viewer.add_image(np.ones((8, 8, 8), np.float32), name="small")
    dock.half2.choose(small)
    dock.resolution.click()
    assert "wanted one grid" in dock.jobs.state.text()
    dock.half2.choose(viewer.layers["run_half2_class001_unfil"])
    model = tmp_path / "model.pdb"
    model.write_text("nothing\n")
    dock.model.set_value(model)
    dock.against_model.click()
    wait_until(lambda: not dock.is_busy)
    assert "model.pdb" in dock.jobs.state.text()


def test_the_menu_colors_a_surface_at_once(viewer, halves, wait_until) -> None:
    where = {"scale": (VOXEL,) * 3, "units": ("angstrom",) * 3}
    for number, half in enumerate(halves, start=1):
        viewer.add_image(half.numpy(), name=f"half map {number}", **where)
    show_local_resolution()
    wait_until(lambda: "surface by local resolution · half map 1" in viewer.layers)
