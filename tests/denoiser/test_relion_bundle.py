"""Bundles of the published release's form: loaded for their numbers, never executed."""

import gzip
import hashlib
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_blush.denoiser import relion_bundle
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.relion_bundle import bundle_names
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.errors import WeightsError

Save = Callable[..., Path]


def poison(tmp_path: Path) -> tuple[Path, str]:
    """Return a file and the source text that makes it when it is executed."""
    trace = tmp_path / "executed"
    return trace, f"import pathlib\npathlib.Path({str(trace)!r}).write_text('executed')\n"


@pytest.fixture
def network(generator: torch.Generator) -> BlushUNet:
    made = BlushUNet(2, 3)
    for parameter in made.parameters():
        parameter.data.normal_(generator=generator)
    return made


@pytest.fixture
def save(tmp_path: Path, network: BlushUNet) -> Save:
    """Return a function that writes a bundle, with entries replaced, and returns its path."""

    def write(name: str = "model.ckpt", *, is_zip: bool = True, **entries: object) -> Path:
        whole = {
            "model_state_dict": network.state_dict(),
            "model_definition": poison(tmp_path)[1],
            "block_size": 64.0,
            "voxel_size": 1.5,
            "no_mask": False,
            **entries,
        }
        buffer = io.BytesIO()
        torch.save(whole, buffer, _use_new_zipfile_serialization=is_zip)
        content = buffer.getvalue()
        path = tmp_path / name
        path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
        return path

    return write


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "old-style"])
@pytest.mark.parametrize("name", ["v1.0.ckpt", "v1.0.ckpt.gz"])
def test_a_poisoned_bundle_gives_its_numbers_only(
    tmp_path: Path, network: BlushUNet, save: Save, name: str, is_zip: bool
) -> None:
    path = save(name, is_zip=is_zip)
    denoiser = load_denoiser(path)
    trace, source = poison(tmp_path)
    assert not trace.exists()
    exec(source, {})  # the poison works
    assert trace.exists()
    record = denoiser.record
    assert (record.voxel_size, record.block_size, record.width, record.depth) == (1.5, 64, 2, 3)
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.name == "v1.0"
    for key, tensor in network.state_dict().items():
        assert torch.equal(denoiser.network.state_dict()[key], tensor)


def test_the_published_size_makes_its_round_trip(tmp_path: Path, save: Save) -> None:
    network = BlushUNet()
    path = save("big.ckpt", model_state_dict=network.state_dict())
    read = load_denoiser(path).network
    assert (read.width, read.depth) == (16, 5)
    assert len(read.state_dict()) == 90
    assert sum(tensor.numel() for tensor in read.state_dict().values()) == 12_974_578
    assert all(torch.equal(read.state_dict()[k], v) for k, v in network.state_dict().items())


def test_the_table_of_names_is_complete() -> None:
    names = bundle_names(5)
    assert len(names) == 90
    assert {*names.values()} == {*BlushUNet().state_dict()}
    assert "up.4.conv.double_conv.norm2.bias" in names


class Execute:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "old-style"])
@pytest.mark.parametrize("entry", ["voxel_size", "model_definition", "extra"])
def test_a_bundle_that_wants_a_shell_is_refused(
    tmp_path: Path, save: Save, entry: str, is_zip: bool
) -> None:
    trace = tmp_path / "shell"
    path = save(is_zip=is_zip, **{entry: Execute(os.system, f"touch {trace}")})
    with pytest.raises(WeightsError, match=r"wants (posix|nt)\.system to be run"):
        load_denoiser(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "call", [(eval, "1"), (np.array, [1.0]), (Path, "x")], ids=["eval", "array", "path"]
)
def test_other_wishes_are_refused_by_name(save: Save, call: tuple[Callable[..., object]]) -> None:
    with pytest.raises(WeightsError, match=r"wants [\w.]+ to be run"):
        load_denoiser(save(no_mask=Execute(*call)))


@pytest.mark.parametrize("number", [np.float64(1.5), np.float32(1.5), torch.tensor(1.5)])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numbers_may_be_numpys(save: Save, number: object, module: str) -> None:
    path = save(voxel_size=number, block_size=np.int64(64), is_zip=False)
    content = path.read_bytes()
    ours = np.float64(0).__reduce__()[0].__module__
    path.write_bytes(content.replace(f"c{ours}\n".encode(), f"c{module}\n".encode()))
    record = load_denoiser(path).record
    assert (record.voxel_size, record.block_size) == (1.5, 64)


def test_numpy_objects_are_no_numbers(save: Save) -> None:
    path = save(voxel_size=np.datetime64("2020-01-01"))
    with pytest.raises(WeightsError, match=r"numpy"):
        load_denoiser(path)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"model_state_dict": {"a": 1}}, "wanted model_state_dict with named tensors"),
        ({"model_state_dict": OrderedDict()}, "holds 0 tensors"),
        ({"model_state_dict": {"x": torch.ones(2)}}, "such as 'x'"),
        ({"voxel_size": "1.5"}, "voxel_size = 1.5; wanted a number"),
        ({"voxel_size": float("inf")}, "voxel_size = inf; wanted a number"),
        ({"block_size": 63.5}, "blocks of 63.5 voxels"),
        ({"block_size": 60}, "blocks of 60 voxels; wanted a multiple of 8"),
    ],
)
def test_unfit_entries_are_refused(save: Save, entries: dict[str, object], said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        load_denoiser(save(**entries))


def test_missing_and_misshapen_tensors_are_named(save: Save, network: BlushUNet) -> None:
    tensors = dict(network.state_dict())
    removed = {
        key: tensor for key, tensor in tensors.items() if key != "down.1.double_conv.conv2.bias"
    }
    with pytest.raises(WeightsError, match=r"has no tensor down\.1\.double_conv\.conv2\.bias"):
        load_denoiser(save(model_state_dict=removed))
    tensors["outc.bias"] = torch.ones(1)
    with pytest.raises(WeightsError, match=r"has outc\.bias of 1 and .* has outc\.bias of 2"):
        load_denoiser(save(model_state_dict=tensors))
    tensors["outc.bias"] = torch.tensor([0.0, float("nan")])
    with pytest.raises(WeightsError, match=r"outc\.bias that are not finite"):
        load_denoiser(save(model_state_dict=tensors))
    tensors["outc.bias"] = torch.tensor([0, 1])
    with pytest.raises(WeightsError, match=r"outc\.bias as torch\.int64"):
        load_denoiser(save(model_state_dict=tensors))


def test_an_enormous_network_is_refused_before_it_is_made(save: Save, network: BlushUNet) -> None:
    huge = torch.zeros(1).expand(100_000, 2, 3, 3, 3)  # a view: a few bytes in the file
    tensors = {**network.state_dict(), "inc.double_conv.conv1.weight": huge}
    with pytest.raises(WeightsError, match="width 100000"):
        load_denoiser(save(model_state_dict=tensors))


@pytest.mark.parametrize("name", ["a.ckpt", "a.ckpt.gz"])
@pytest.mark.parametrize("kept", [0, 3, 200, 0.5, 0.99])
def test_a_cut_bundle_is_refused(save: Save, name: str, kept: float) -> None:
    path = save(name)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(WeightsError, match=r"cannot be (unpacked|read)"):
        load_denoiser(path)


def test_a_damaged_gzip_is_refused(save: Save) -> None:
    path = save("a.ckpt.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 255  # of the checksum
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="CRC"):
        load_denoiser(path)


def test_a_bomb_is_refused(tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relion_bundle, "LARGEST_FILE_BYTES", 1 << 20)
    packed = tmp_path / "bomb.ckpt.gz"
    packed.write_bytes(gzip.compress(bytes(1 << 24)))
    with pytest.raises(WeightsError, match="unpacks to more than 1048576 bytes"):
        load_denoiser(packed)

    deflated = tmp_path / "bomb.ckpt"
    tensors = {"x": torch.zeros(1 << 18)}
    with zipfile.ZipFile(save(model_state_dict=tensors)) as stored:
        with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry in stored.infolist():
                archive.writestr(entry.filename, stored.read(entry))
    with pytest.raises(WeightsError, match="not compressed"):
        load_denoiser(deflated)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "old-style"])
def test_damaged_bytes_are_refused_or_harmless(tmp_path: Path, save: Save, is_zip: bool) -> None:
    path = save(is_zip=is_zip)
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 3, 20])):
            # Most of the structure stands in front.
            reach = len(content) if rng.uniform() < 0.4 else 6000
            damaged[rng.integers(reach)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load_denoiser(path)
            outcomes.add("loaded")
        except WeightsError:
            outcomes.add("refused")
    assert "refused" in outcomes
    assert {file.name for file in tmp_path.iterdir()} == {path.name}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not weights at all\n",
        pickle.dumps({"model_state_dict": {}}),
        b"PK\x03\x04 no archive",
    ],
    ids=["empty", "text", "plain-pickle", "broken-archive"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_denoiser(path)


def test_a_saved_list_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match="holds a list"):
        load_denoiser(tmp_path / "a.ckpt")


def test_a_scripted_module_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.ckpt"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("a/constants.pkl", pickle.dumps(()))
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/code/x.py", "")
        archive.writestr("a/version", "3\n")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_denoiser(source)
