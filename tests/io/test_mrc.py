import errno
import pickle
import threading
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_blush.errors import MrcFileError
from napari_blush.io import atomic
from napari_blush.io.mrc import MrcStack, StackImageSource, read_map, write_map, write_stack


def cube(n: int = 8) -> np.ndarray:
    return np.arange(n**3, dtype=np.float32).reshape(n, n, n) % 100


def write_raw(path: Path, data: np.ndarray, **header: object) -> Path:
    with mrcfile.new(path, overwrite=True) as handle:
        handle.set_data(data)
        handle.voxel_size = 2.0
        for name, value in header.items():
            setattr(handle.header, name, value)
    return path


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32, np.uint16, np.float16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_mode_and_byte_order_gives_the_values_as_float32(
    tmp_path: Path, dtype: type, order: str
) -> None:
    data = (cube() - 40).astype(dtype) if dtype is not np.uint16 else (cube() + 60000).astype(dtype)
    path = write_raw(tmp_path / "a.mrc", data)
    if order == ">":
        raw = path.read_bytes()
        header = np.frombuffer(raw[:1024], mrcfile.dtypes.HEADER_DTYPE)
        swapped = bytearray(header.astype(header.dtype.newbyteorder(">")).tobytes())
        swapped[212:214] = b"\x11\x11"
        path.write_bytes(bytes(swapped) + data.astype(data.dtype.newbyteorder(">")).tobytes())
        with mrcfile.open(path) as handle:  # the oracle agrees that this is such a file
            assert handle.header.mx.dtype.byteorder in ">"
    read = read_map(path)
    assert read.volume.dtype == torch.float32
    np.testing.assert_array_equal(read.volume.numpy(), data.astype(np.float32))
    assert read.voxel_size == 2.0


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (1, 3, 2), (2, 1, 3), (3, 1, 2)])
def test_axis_order_is_honoured(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    n = 4
    data = cube(n)
    mapc, mapr, maps = axes
    start = {1: 5, 2: 7, 3: 9}
    path = write_raw(
        tmp_path / "a.map", data, mapc=mapc, mapr=mapr, maps=maps,
        nxstart=start[mapc], nystart=start[mapr], nzstart=start[maps],
    )  # fmt: skip
    read = read_map(path)
    for section, row, column in np.ndindex(n, n, n):  # written out: which voxel is where
        at = {mapc: column, mapr: row, maps: section}
        assert read.volume[at[3], at[2], at[1]] == data[section, row, column]
    assert read.origin_angstrom == (10.0, 14.0, 18.0)


def test_origin_record_beats_the_start_indices(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mrc", cube(), nxstart=3, origin=(1.5, -2.0, 4.0))
    assert read_map(path).origin_angstrom == (1.5, -2.0, 4.0)


@settings(max_examples=30, deadline=None)
@given(
    half=st.integers(1, 5), voxel_size=st.floats(0.3, 12.0), seed=st.integers(0, 2**31),
    origin=st.tuples(*[st.floats(-500, 500, width=32)] * 3),
)  # fmt: skip
def test_write_then_read_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, half: int, voxel_size: float, seed: int,
    origin: tuple[float, float, float],
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("map") / "a.mrc"
    volume = torch.randn(*[2 * half] * 3, generator=torch.Generator().manual_seed(seed))
    write_map(path, volume, voxel_size, origin)
    read = read_map(path)
    assert torch.equal(read.volume, volume)
    assert read.voxel_size == pytest.approx(voxel_size, rel=1e-6)
    assert read.origin_angstrom == origin
    write_map(path, volume, voxel_size, dtype=torch.float16)
    assert torch.equal(read_map(path).volume, volume.half().float())
    assert [file.name for file in path.parent.iterdir()] == ["a.mrc"]


def test_written_maps_satisfy_the_format(tmp_path: Path) -> None:
    write_map(tmp_path / "a.mrc", torch.randn(8, 8, 8), 1.25)
    write_stack(tmp_path / "a.mrcs", torch.randn(3, 8, 8), 1.25, dtype=torch.float16)
    assert mrcfile.validate(tmp_path / "a.mrc")
    assert mrcfile.validate(tmp_path / "a.mrcs")
    with mrcfile.open(tmp_path / "a.mrc") as handle:
        assert handle.is_volume()
        assert handle.voxel_size.z == 1.25
        assert handle.header.rms == pytest.approx(handle.data.std(), rel=1e-5)
    with mrcfile.open(tmp_path / "a.mrcs") as handle:
        assert handle.is_image_stack()
        assert handle.voxel_size.z == 1.25
        assert handle.data.dtype == np.float16
    assert MrcStack(tmp_path / "a.mrcs").pixel_size == 1.25


def test_space_group_zero_is_a_volume_when_it_is_a_cube(tmp_path: Path) -> None:
    assert read_map(write_raw(tmp_path / "a.mrc", cube(), ispg=0)).volume.shape == (8, 8, 8)


@pytest.mark.parametrize("mz,cell", [(1, 2.0), (1, 16.0), (8, 16.0)])
def test_volumes_whose_writer_thought_them_a_stack(tmp_path: Path, mz: int, cell: float) -> None:
    path = write_raw(tmp_path / "a.mrc", cube(), mz=mz, cella=(16.0, 16.0, cell))
    assert read_map(path).voxel_size == 2.0


@pytest.mark.parametrize(
    ("shape", "name", "header", "words"),
    [
        ((8, 8, 6), "a.mrc", {}, "wanted a cube"),
        ((7, 7, 7), "a.mrc", {}, "even number"),
        ((1, 8, 8), "a.mrc", {}, "single image"),
        ((8, 8, 8), "a.mrcs", {}, "is a stack"),
        ((8, 8, 8), "a.mrc", {"ispg": 401, "mz": 4}, "is a stack"),
        ((8, 8, 8), "a.mrc", {"cella": (0, 0, 0)}, "voxel size"),
        ((8, 8, 8), "a.mrc", {"cella": (np.nan, 8, 8)}, "voxel size"),
        ((8, 8, 8), "a.mrc", {"cella": (16, 16, 17)}, "wanted cubic voxels"),
        ((8, 8, 8), "a.mrc", {"cella": (16, 15, 16)}, "wanted cubic voxels"),
        ((8, 8, 8), "a.mrc", {"mapc": 1, "mapr": 1}, "axis order"),
        ((8, 8, 8), "a.mrc", {"mode": 4}, "complex"),
        ((8, 8, 8), "a.mrc", {"mode": 77}, "unknown kind"),
        ((8, 8, 8), "a.mrc", {"nx": 80}, "truncated"),
        ((8, 8, 8), "a.mrc", {"nx": -1}, "does not begin with an MRC header"),
    ],
)
def test_wrong_maps_are_refused(
    tmp_path: Path, shape: tuple[int, ...], name: str, header: dict[str, object], words: str
) -> None:
    path = write_raw(tmp_path / name, np.ones(shape, np.float32), **header)
    with pytest.raises(MrcFileError, match=words) as caught:
        read_map(path)
    assert str(path) in str(caught.value)


def test_no_map_at_all(tmp_path: Path) -> None:
    with pytest.raises(MrcFileError, match="does not exist"):
        read_map(tmp_path / "none.mrc")
    with pytest.raises(MrcFileError, match="Cannot read"):
        read_map(tmp_path)
    (tmp_path / "short.mrc").write_bytes(b"abc")
    with pytest.raises(MrcFileError, match="has 3 bytes"):
        read_map(tmp_path / "short.mrc")
    (tmp_path / "text.mrc").write_bytes(b"data_optics\n\nloop_" * 200)
    with pytest.raises(MrcFileError, match="does not begin with an MRC header"):
        read_map(tmp_path / "text.mrc")
    (tmp_path / "a.map").write_bytes(b"\x1f\x8b" + bytes(2000))
    with pytest.raises(MrcFileError, match="unpack"):
        read_map(tmp_path / "a.map")
    holes = cube()
    holes[1, 2, 3] = np.nan
    with pytest.warns(RuntimeWarning):
        write_raw(tmp_path / "holes.mrc", holes)
    with pytest.raises(MrcFileError, match="not finite"):
        read_map(tmp_path / "holes.mrc")


def test_voxel_size_by_hand(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mrc", cube(), cella=(0, 0, 0), nxstart=2)
    assert read_map(path, voxel_size=3.0).voxel_size == 3.0
    assert read_map(path, voxel_size=3.0).origin_angstrom == (6.0, 0.0, 0.0)
    with pytest.raises(MrcFileError, match="more than zero"):
        read_map(path, voxel_size=0.0)


def test_values_that_do_not_fit_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    write_map(path, torch.ones(4, 4, 4), 1.0)
    before = path.read_bytes()
    with pytest.raises(MrcFileError, match="not finite"):
        write_map(path, torch.full((4, 4, 4), 1e6), 1.0, dtype=torch.float16)
    with pytest.raises(MrcFileError, match="float32 or float16"):
        write_map(path, torch.ones(4, 4, 4), 1.0, dtype=torch.float64)
    with pytest.raises(MrcFileError, match="more than zero"):
        write_map(path, torch.ones(4, 4, 4), 0.0)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mrc"
    write_map(path, torch.ones(4, 4, 4), 1.0)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(MrcFileError, match="disk is full"):
        write_map(path, torch.zeros(4, 4, 4), 1.0)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(MrcFileError, match="folder does not exist"):
        write_map(tmp_path / "nowhere" / "a.mrc", torch.ones(4, 4, 4), 1.0)


def stacks(folder: Path, sizes: tuple[int, ...], n: int = 6) -> tuple[list[Path], list[np.ndarray]]:
    rng = np.random.default_rng(3)
    images = [rng.integers(-9, 9, (size, n, n)).astype(np.float16) for size in sizes]
    paths = [write_raw(folder / f"s{k}.mrcs", data) for k, data in enumerate(images)]
    return paths, images


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_source_gives_the_image_that_was_asked_for(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    paths, images = stacks(tmp_path_factory.mktemp("s"), (3, 1, 5, 2))
    pairs = [(f, i) for f, stack in enumerate(images) for i in range(len(stack))]
    rows = data.draw(st.permutations(pairs))
    source = StackImageSource(
        tuple(paths), np.array([f for f, _ in rows]), np.array([i for _, i in rows]), max_open=2
    )
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=20))
    read = source.read(torch.tensor(wanted))
    assert read.dtype == torch.float32
    for out, row in zip(read.numpy(), wanted, strict=True):
        file, image = rows[row]
        np.testing.assert_array_equal(out, images[file][image].astype(np.float32))
    assert len(source) == len(rows)
    assert source.read(torch.tensor([], dtype=torch.int64)).shape == (0, 0, 0)


def test_a_source_keeps_few_files_open_and_travels(tmp_path: Path) -> None:
    paths, images = stacks(tmp_path, (1,) * 8)
    source = StackImageSource(tuple(paths), np.arange(8), np.zeros(8, np.int64), max_open=3)
    source.read(torch.arange(8))
    assert len(source._open) == 3
    other = pickle.loads(pickle.dumps(source))
    assert len(other._open) == 0
    np.testing.assert_array_equal(other.read(torch.tensor([5]))[0], images[5][0])


def test_threads_may_share_a_source(tmp_path: Path) -> None:
    paths, images = stacks(tmp_path, (4,) * 6)
    expected = torch.from_numpy(np.concatenate(images).astype(np.float32))
    source = StackImageSource(
        tuple(paths), np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6), max_open=2
    )
    wrong: list[int] = []

    def read(seed: int) -> None:
        order = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
        if not torch.equal(source.read(order), expected[order]):
            wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_stacks_open_lazily_and_tell_what_is_wrong(tmp_path: Path) -> None:
    paths, _ = stacks(tmp_path, (3,))
    stack = MrcStack(paths[0])
    assert (len(stack), stack.shape, stack.pixel_size) == (3, (6, 6), 2.0)
    assert isinstance(stack._pixels, np.memmap)
    for index in (3, -1):
        with pytest.raises(MrcFileError, match=f"Image {index + 1} of .* it holds 3"):
            stack.read(np.array([0, index]))
    raw = paths[0].read_bytes()
    paths[0].write_bytes(raw[:-1])
    with pytest.raises(MrcFileError, match=r"truncated: .* 1240 bytes .* it has 1239"):
        MrcStack(paths[0])
    paths[0].write_bytes(raw + b"more than enough")
    assert len(MrcStack(paths[0])) == 3
    with pytest.raises(MrcFileError, match="columns along x"):
        MrcStack(write_raw(tmp_path / "t.mrcs", cube(), mapc=2, mapr=1))


def test_one_call_one_size(tmp_path: Path) -> None:
    small = write_raw(tmp_path / "a.mrcs", np.ones((2, 4, 4), np.float32))
    large = write_raw(tmp_path / "b.mrcs", np.ones((2, 6, 6), np.float32))
    source = StackImageSource((small, large), np.array([0, 1]), np.array([0, 0]))
    with pytest.raises(MrcFileError, match="wanted one size"):
        source.read(torch.tensor([0, 1]))
    assert source.read(torch.tensor([1])).shape == (1, 6, 6)


def test_header_without_stamps_and_sizes(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mrcs", np.ones((2, 4, 4), np.float32))
    raw = bytearray(path.read_bytes())
    raw[40:76] = bytes(36)  # cell and axis order
    raw[208:216] = bytes(8)  # MAP and machine stamp
    path.write_bytes(bytes(raw))
    stack = MrcStack(path)
    assert stack.pixel_size is None
    assert stack.read(np.array([1])).sum() == 16


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["relion31.mrcs", "sample.mrcs", "empiar_10076_7.mrc"])
def test_real_stacks_agree_with_mrcfile(data_dir: Path, name: str) -> None:
    path = data_dir / "reader_fixtures" / name
    stack = MrcStack(path)
    with warnings.catch_warnings(action="ignore"), mrcfile.mmap(path, permissive=True) as handle:
        data = handle.data
        assert (len(stack), *stack.shape) == data.shape
        np.testing.assert_array_equal(stack.read(np.array([2]))[0], data[2])


@pytest.mark.real_data
def test_real_maps_agree_with_mrcfile(data_dir: Path) -> None:
    for name, voxel_size, origin in [
        ("maps/emd_5168.map", 1.742, -50 * 1.742), ("maps/ngl_betaGal_3.54A.mrc", 3.54, 0.0),
        ("betagal_dev/relion313_reference/full.mrc", 3.54, 0.0),
    ]:  # fmt: skip
        path = data_dir / name
        read = read_map(path)
        with mrcfile.open(path) as handle:
            np.testing.assert_array_equal(read.volume.numpy(), handle.data)
        assert read.voxel_size == pytest.approx(voxel_size, rel=1e-5)
        assert read.origin_angstrom[0] == pytest.approx(origin, rel=1e-5)


def test_equal_maps_are_equal_files(tmp_path: Path) -> None:
    volume = torch.rand(4, 4, 4)
    write_map(tmp_path / "a.mrc", volume, 1.5)
    write_map(tmp_path / "b.mrc", volume, 1.5)
    written = (tmp_path / "a.mrc").read_bytes()
    assert written == (tmp_path / "b.mrc").read_bytes()
    # The label would hold a date, and the header does not say when.
    assert b"Created by napari-blush" in written[:1024]
