"""Files that napari opens through the plugin, and maps that it saves."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from napari.layers import Points

from napari_blush.errors import MrcFileError, RunFolderError
from napari_blush.io.mrc import read_map, write_map, write_stack
from napari_blush.io.star import read_particles
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.plugin import (
    map_reader,
    particle_reader,
    run_folder_reader,
    sample_half_maps,
    sample_low_signal_maps,
    sample_low_signal_particles,
    sample_maps,
    sample_particles,
    write_mrc,
)

N, VOXEL = 6, 2.5
SAMPLE = Path(__file__).parents[2] / "sample_data"


@pytest.fixture
def volume(generator) -> torch.Tensor:
    return torch.randn(N, N, N, generator=generator)


@pytest.fixture
def map_file(tmp_path, volume) -> Path:
    write_map(tmp_path / "some.mrc", volume, VOXEL, (10.0, 20.0, 30.0))
    return tmp_path / "some.mrc"


def test_a_map_opens_in_angstrom_where_it_lies(map_file, volume) -> None:
    ((data, arguments, kind),) = map_reader(str(map_file))(str(map_file))
    assert kind == "image"
    assert np.array_equal(data, volume.numpy())
    assert arguments["name"] == "some"
    assert arguments["scale"] == (VOXEL,) * 3
    assert arguments["units"] == ("angstrom",) * 3
    assert arguments["translate"] == (30.0, 20.0, 10.0)
    low, high = arguments["contrast_limits"]
    assert low <= arguments["iso_threshold"] <= high


def test_a_saved_layer_is_the_map_that_was_opened(map_file, volume, tmp_path) -> None:
    ((data, arguments, _),) = map_reader(str(map_file))(str(map_file))
    again = tmp_path / "again.mrc"
    assert write_mrc(str(again), data, arguments) == [str(again)]
    found = read_map(again)
    assert torch.equal(found.volume, volume)
    assert found.voxel_size == pytest.approx(VOXEL)
    assert found.origin_angstrom == pytest.approx((10.0, 20.0, 30.0))


def test_nanometres_are_written_in_angstrom(tmp_path, volume) -> None:
    attributes = {"scale": (0.25,) * 3, "units": ("nanometer",) * 3, "translate": (1.0, 0.0, 0.0)}
    write_mrc(str(tmp_path / "nm.mrc"), volume.numpy(), attributes)
    found = read_map(tmp_path / "nm.mrc")
    assert found.voxel_size == pytest.approx(2.5)
    assert found.origin_angstrom == pytest.approx((0.0, 0.0, 10.0))


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((2, 4, 4), {"scale": (1.0,) * 3}),
        ((4, 4), {"scale": (1.0,) * 2}),
        ((4, 4, 4), {"scale": (1.0, 2.0, 1.0)}),
        ((4, 4, 4), {"scale": (-1.0,) * 3}),
        ((4, 4, 4), {"scale": (1.0,) * 3, "units": ("second",) * 3}),
    ],
)
def test_what_is_no_map_is_not_written(tmp_path, shape, attributes) -> None:
    with pytest.raises(MrcFileError, match="wanted"):
        write_mrc(str(tmp_path / "no.mrc"), np.zeros(shape, np.float32), attributes)
    assert not list(tmp_path.iterdir())


def test_what_is_not_ours_is_left_to_others(tmp_path) -> None:
    write_stack(tmp_path / "micrograph.mrc", torch.zeros(1, 8, 8), 1.0)
    (tmp_path / "text.mrc").write_text("no map")
    (tmp_path / "other.star").write_text("data_\nloop_\n_some #1\n1\n")
    (tmp_path / "broken.star").write_text("no table")
    for name in ("micrograph.mrc", "text.mrc", "missing.mrc", "text.txt"):
        assert map_reader(str(tmp_path / name)) is None
    for name in ("other.star", "broken.star", "missing.star"):
        assert particle_reader(str(tmp_path / name)) is None
    assert run_folder_reader(str(tmp_path)) is None


def test_a_stack_is_read_as_it_is_looked_at(tmp_path, generator) -> None:
    images = torch.randn(5, 8, 8, generator=generator)
    write_stack(tmp_path / "stack.mrcs", images, 1.5)
    ((data, arguments, _),) = map_reader(str(tmp_path / "stack.mrcs"))(str(tmp_path / "stack.mrcs"))
    assert data.shape == (5, 8, 8)
    assert arguments["scale"] == (1.0, 1.5, 1.5)
    assert np.array_equal(data[3], images[3].numpy())
    assert np.array_equal(data[(-1, slice(None), slice(2, 4))], images[-1, :, 2:4].numpy())
    assert np.array_equal(data[1:4:2, 0], images[1:4:2, 0].numpy())
    assert np.array_equal(np.asarray(data), images.numpy())


def test_a_particle_file_opens_as_a_stack_with_its_columns() -> None:
    path = str(SAMPLE / "truth" / "truth_poses.star")
    (data, arguments, kind), (points, table, table_kind) = particle_reader(path)(path)
    assert (kind, table_kind) == ("image", "points")
    particles = read_particles(path)
    assert data.shape == (500, 64, 64)
    assert np.array_equal(data[7], particles.images.read(torch.tensor([7]))[0].numpy())
    columns = arguments["metadata"]["features"]
    assert np.array_equal(columns["defocus_u_angstrom"], particles.defocus[:, 0].numpy())
    assert {len(column) for column in columns.values()} == {500}
    assert "rlnAngleRot" in columns
    layer = Points(points, **table)
    assert set(columns) < set(layer.features)
    assert np.array_equal(layer.features["rlnAngleTilt"], columns["rlnAngleTilt"])
    tilt = columns["rlnAngleTilt"][3]
    assert f"tilt {tilt:.0f}" in layer.text.values[3]
    assert tuple(layer.scale) == tuple(arguments["scale"])


def test_a_point_marks_the_middle_of_its_particle() -> None:
    path = str(SAMPLE / "truth" / "truth_poses.star")
    (data, _, _), (points, _, _) = particle_reader(path)(path)
    center = data.shape[-1] // 2
    plain, brought = np.zeros((2, *data.shape[1:]))
    for image, (_, y, x) in zip(data[:], points, strict=True):
        plain += image
        brought += np.roll(image, (round(center - y), round(center - x)), (0, 1))
    # Brought to the middle, the particles add up to something sharper.
    assert brought.var() > 1.05 * plain.var()


def test_thousands_of_particles_open_within_a_second(tmp_path) -> None:
    lines = (SAMPLE / "truth" / "truth_poses.star").read_text().splitlines()
    rows = [line for line in lines if "@" in line]
    head = lines[: lines.index(rows[0])]
    stack = SAMPLE / "particles.mrcs"
    many = [row.replace("particles.mrcs", str(stack)) for row in rows] * 20
    path = tmp_path / "many.star"
    path.write_text("\n".join([*head, *many, ""]))
    assert particle_reader(str(path))
    begins = time.perf_counter()
    (data, _, _), (points, _, _) = particle_reader(str(path))(str(path))
    assert time.perf_counter() - begins < 1.0
    assert len(data) == len(points) == 20 * len(rows)


def test_sample_data_open() -> None:
    names = [arguments["name"] for _, arguments, _ in sample_maps()]
    assert names == ["CFTR, truth", "CFTR, start map", "CFTR, mask"]
    (data, _, _), _ = sample_particles()
    assert data.shape == (500, 64, 64)
    assert [data.shape for data, _, _ in sample_low_signal_maps()] == [(64,) * 3] * 3
    (data, arguments, _), (points, _, _) = sample_low_signal_particles()
    assert data.shape == (800, 64, 64)
    assert len(points) == 800
    assert arguments["scale"] == (1.0, 3.0, 3.0)


def test_the_half_maps_of_the_sample_are_of_the_sample() -> None:
    (one, _, _), (other, _, _), (mask, _, _) = sample_half_maps()
    truth = read_map(SAMPLE / "truth" / "truth.mrc").volume
    halves = [torch.from_numpy(half) * torch.from_numpy(mask) for half in (one, other)]
    assert not torch.equal(*halves)
    fsc = fourier_shell_correlation(*halves)
    assert fsc[20] > 0.5
    assert all(fourier_shell_correlation(half, truth)[16] > 0.8 for half in halves)


def test_a_run_without_an_iteration_is_refused_in_words(tmp_path) -> None:
    (tmp_path / "settings.yaml").write_text("settings: {}")
    with pytest.raises(RunFolderError, match="no whole iteration"):
        run_folder_reader(str(tmp_path))(str(tmp_path))


OPENS = """
import sys
from napari.components import ViewerModel
from napari_blush.plugin import map_reader, particle_reader, run_folder_reader

viewer = ViewerModel()
for reader, path in zip((map_reader, map_reader, particle_reader, run_folder_reader), sys.argv[1:]):
    read = reader(path)
    assert read is not None, path
    for data, arguments, kind in read(path):
        getattr(viewer, f"add_{kind}")(data, **arguments)
        data[0]
names = [layer.name for layer in viewer.layers]
assert names[:4] == ["start_map", "particles", "particles [1]", "particles, columns"], names
assert "run · reference" in names, names
print("torch" in sys.modules)
"""


def test_files_open_without_the_tensor_library(tmp_path, volume) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "settings.yaml").write_text("settings: {}")
    (run / "run_it001_state.safetensors").touch()
    write_map(run / "run_it001_half1_class001.mrc", volume, VOXEL)
    names = ("start_map.mrc", "particles.mrcs", "particles.star")
    paths = [*(str(SAMPLE / name) for name in names), str(run)]
    call = [sys.executable, "-c", OPENS, *paths]
    found = subprocess.run(call, check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["False"]
