"""From named tensors to a network, once their names, shapes and values have been judged.

Width and depth are read from the tensors, so that no file has to be believed about them.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from napari_blush.denoiser.network import BlushUNet
from napari_blush.errors import WeightsError

_FIRST = "inc.double_conv.conv1.weight"
_LARGEST_WIDTH, _LARGEST_DEPTH = 128, 8


def network_of_tensors(tensors: Mapping[str, Tensor], where: str) -> BlushUNet:
    """Return a network with these weights, float32 on the CPU, in evaluation mode.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Under the names of ``BlushUNet``; of any floating-point type.
    where : str
        What the tensors came from, for messages.

    Raises
    ------
    WeightsError
        When they are not those of a ``BlushUNet`` of some width and depth, or are not finite.
    """
    width, depth = _size_of_network(tensors, where)
    with torch.device("meta"):
        network = BlushUNet(width, depth)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise WeightsError(
                f"{where} has {_described(given, name)} and a network of width {width} and depth "
                f"{depth} has {_described(wanted, name)}; wanted weights of Blush's network; give "
                "another file."
            )
    ready = {name: _checked(tensor, name, where) for name, tensor in tensors.items()}
    network.load_state_dict(ready, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def check_block_size(block_size: int, voxel_size: float, depth: int, where: str) -> None:
    """Refuse a grid that a network of this depth cannot work on.

    Raises
    ------
    WeightsError
        When the block is not a multiple of ``2 ** depth``, or the voxel size is absurd.
    """
    if block_size <= 0 or block_size % 2**depth or block_size > 512:
        raise WeightsError(
            f"{where} states blocks of {block_size} voxels; wanted a multiple of {2**depth} up to "
            "512; the file is damaged or of another network; give another one."
        )
    if not 0.1 <= voxel_size <= 20:
        raise WeightsError(
            f"{where} states a voxel size of {voxel_size:g} A; wanted 0.1 to 20 A; the file is "
            "damaged or of another network; give another one."
        )


def _size_of_network(tensors: Mapping[str, Tensor], where: str) -> tuple[int, int]:
    """Return width and depth."""
    levels = {int(m[1]) for name in tensors if (m := re.match(r"down\.(\d{1,3})\.", name))}
    first = tensors.get(_FIRST)
    if first is None or first.ndim != 5 or not levels:
        known = ", ".join(sorted(tensors)[:3]) or "none"
        raise WeightsError(
            f"{where} holds {len(tensors)} tensors (first: {known}) that are not those of Blush's "
            f"network; wanted {_FIRST} and its kin; give another file."
        )
    width, depth = int(first.shape[0]), max(levels) + 1
    if not (1 <= width <= _LARGEST_WIDTH and depth <= _LARGEST_DEPTH):
        raise WeightsError(
            f"{where} looks like a network of width {width} and depth {depth}; wanted at most "
            f"{_LARGEST_WIDTH} and {_LARGEST_DEPTH}; give another file."
        )
    return width, depth


def _described(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    if name not in shapes:
        return f"no tensor {name}"
    return f"{name} of {' x '.join(map(str, shapes[name]))}"


def _checked(tensor: Tensor, name: str, where: str) -> Tensor:
    is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not is_plain or not tensor.dtype.is_floating_point:
        raise WeightsError(
            f"{where} has {name} as {tensor.dtype} on {tensor.device.type}; wanted plain "
            "floating-point numbers; give another file."
        )
    # A copy of its own: the tensor may be a view into the bytes of the file.
    ready = tensor.detach().to(torch.float32, copy=True).contiguous()
    if not bool(torch.isfinite(ready).all()):
        raise WeightsError(
            f"{where} has values in {name} that are not finite; wanted finite numbers; the file "
            "is damaged; copy or train it again."
        )
    return ready
