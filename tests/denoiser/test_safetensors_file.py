"""Our own weight files: what is written comes back, what was changed is refused."""

import hashlib
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import load_denoiser, save_denoiser
from napari_blush.errors import WeightsError

FIELDS = {"voxel_size": 3.0, "block_size": 32, "version": "7", "license": "BSD-3-Clause"}


@pytest.fixture
def network(generator: torch.Generator) -> BlushUNet:
    made = BlushUNet(2, 3)
    for parameter in made.parameters():
        parameter.data.normal_(generator=generator)
    return made


def test_what_is_written_comes_back(tmp_path: Path, network: BlushUNet) -> None:
    path = tmp_path / "small.safetensors"
    written = save_denoiser(path, network, FIELDS)
    denoiser = load_denoiser(path)
    assert denoiser.record == written
    assert written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (written.name, written.version, written.license) == ("small", "7", "BSD-3-Clause")
    assert (denoiser.voxel_size, denoiser.block_size) == (3.0, 32)
    assert (written.width, written.depth) == (2, 3)
    assert not denoiser.network.training
    assert not any(parameter.requires_grad for parameter in denoiser.network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(denoiser.network.state_dict()[name], tensor)
    assert list(tmp_path.iterdir()) == [path]


def test_half_precision_is_stored_in_half_the_bytes(tmp_path: Path, network: BlushUNet) -> None:
    whole, half = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_denoiser(whole, network, FIELDS)
    save_denoiser(half, network, FIELDS, dtype=torch.float16)
    tensors = [
        sum(t.nbytes for t in safetensors.torch.load_file(p).values()) for p in (whole, half)
    ]
    assert tensors[0] == 2 * tensors[1]
    for name, tensor in network.state_dict().items():
        loaded = load_denoiser(half).network.state_dict()[name]
        assert loaded.dtype == torch.float32
        torch.testing.assert_close(loaded, tensor, rtol=1e-3, atol=1e-4)


def test_moving_leaves_the_denoiser_where_it_is(tmp_path: Path, network: BlushUNet) -> None:
    save_denoiser(tmp_path / "a.safetensors", network, FIELDS)
    denoiser = load_denoiser(tmp_path / "a.safetensors")
    assert denoiser.to("cpu") is denoiser
    moved = denoiser.to("meta")
    assert (moved.device.type, denoiser.device.type) == ("meta", "cpu")
    assert moved.record is denoiser.record


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"voxel_size": 3.0}, "wanted voxel_size, block_size"),
        ({**FIELDS, "colour": "red"}, "colour"),
        ({**FIELDS, "block_size": 36}, "blocks of 36 voxels; wanted a multiple of 8"),
        ({**FIELDS, "voxel_size": float("nan")}, "voxel size of nan A"),
    ],
)
def test_unfit_fields_are_refused(
    tmp_path: Path, network: BlushUNet, fields: dict[str, str | float | int], said: str
) -> None:
    with pytest.raises(WeightsError, match=said):
        save_denoiser(tmp_path / "a.safetensors", network, fields)
    assert not [*tmp_path.iterdir()]


def test_weights_that_overflow_are_not_written(tmp_path: Path, network: BlushUNet) -> None:
    network.outc.bias.data[0] = 1e6
    with pytest.raises(WeightsError, match=r"outc\.bias that are not finite"):
        save_denoiser(tmp_path / "a.safetensors", network, FIELDS, dtype=torch.float16)


def test_a_changed_weight_is_noticed(tmp_path: Path, network: BlushUNet) -> None:
    path = tmp_path / "a.safetensors"
    save_denoiser(path, network, FIELDS)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="do not match the sha256"):
        load_denoiser(path)


@pytest.mark.parametrize("kept", [0, 7, 100, -1], ids=str)
def test_a_cut_file_is_refused(tmp_path: Path, network: BlushUNet, kept: int) -> None:
    path = tmp_path / "a.safetensors"
    save_denoiser(path, network, FIELDS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_denoiser(path)


def test_an_absurd_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_denoiser(path)


def test_tensors_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"head.weight": torch.ones(3)}, path)
    with pytest.raises(WeightsError, match=r"1 tensors \(first: head\.weight\)"):
        load_denoiser(path)


def test_another_architecture_is_named(tmp_path: Path, network: BlushUNet) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {**network.state_dict(), "outc.weight": torch.ones(3, 2, 1, 1, 1)}
    safetensors.torch.save_file(tensors, path, {"voxel_size": "3", "block_size": "32"})
    said = r"outc\.weight of 3 x 2 x 1 x 1 x 1 .* width 2 and depth 3 has outc\.weight of 2 x 2"
    with pytest.raises(WeightsError, match=said):
        load_denoiser(path)


def test_a_header_without_a_grid_is_refused(tmp_path: Path, network: BlushUNet) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    with pytest.raises(WeightsError, match="wanted a voxel size in A"):
        load_denoiser(path)
