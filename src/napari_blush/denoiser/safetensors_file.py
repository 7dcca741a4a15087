"""Our own weight files: safetensors, with what the weights need to be used in the header.

The header's plain strings are the fields of ``WeightsRecord`` and the checksum of the tensors, so
that a file carries all that is known of it and cannot be damaged unnoticed.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.state_dict import check_block_size, network_of_tensors
from napari_blush.denoiser.weights_folder import whole_or_absent
from napari_blush.denoiser.weights_record import WeightsRecord
from napari_blush.errors import WeightsError

FORMAT = "napari-blush denoiser 1"
_STATED = ("name", "version", "license", "source", "description")
_FIGURES = ("voxel_size", "block_size")
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def save_denoiser(
    path: str | Path,
    network: BlushUNet,
    record_fields: Mapping[str, str | float | int],
    *,
    dtype: torch.dtype = torch.float32,
) -> WeightsRecord:
    """Write weights with their record, whole or not at all.

    Parameters
    ----------
    path : path
        Should end in ``.safetensors``.
    network : BlushUNet
    record_fields : mapping
        ``voxel_size`` (angstrom) and ``block_size`` (voxels), and any of ``name`` (default: that
        of the file), ``version``, ``license``, ``source`` and ``description``.
    dtype : torch.float32, torch.float16 or torch.bfloat16
        As stored; half the bytes cost about three digits.

    Returns
    -------
    WeightsRecord
        As it will be read again, with the checksum of the file.

    Raises
    ------
    WeightsError
        When a field is missing or unknown, a weight is not finite in ``dtype``, or the disk
        refuses.
    """
    path = Path(path)
    fields = {"name": path.stem, "version": "1", "license": "unknown", **record_fields}
    unknown = fields.keys() - {*_STATED, *_FIGURES}
    if unknown or not fields.keys() >= {*_FIGURES} or dtype not in _DTYPES:
        raise WeightsError(
            f"Weights for {path} were given with {', '.join(sorted(fields))} as {dtype}; wanted "
            f"{', '.join(_FIGURES)} and any of {', '.join(_STATED)}, as a float of 16 or 32 bits."
        )
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    network_of_tensors(tensors, f"What was to be written to {path}")
    check_block_size(
        int(fields["block_size"]), float(fields["voxel_size"]), network.depth, str(path)
    )
    header = {key: str(value) for key, value in fields.items()}
    header |= {"format": FORMAT, "tensors_sha256": tensors_sha256(tensors)}
    content = safetensors.torch.save(tensors, metadata=header)
    with whole_or_absent(path) as temporary:
        temporary.write_bytes(content)
    return _record(header, network, hashlib.sha256(content).hexdigest(), str(path))


def denoiser_of_safetensors(content: bytes, where: str) -> Denoiser:
    """Return the denoiser that the bytes of a safetensors file hold.

    Parameters
    ----------
    content : bytes
    where : str
        Name of the file, for messages.

    Raises
    ------
    WeightsError
        When the file is cut short, its tensors are not those that were written, or they are not
        of Blush's network.
    """
    try:
        tensors = safetensors.torch.load(content)
        header = _header(content)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as problem:
        raise WeightsError(
            f"{where} is not a whole safetensors file ({problem}); wanted one; it is damaged or "
            "cut short; copy it again."
        ) from problem
    stated = header.get("tensors_sha256")
    if stated is not None and stated != tensors_sha256(tensors):
        raise WeightsError(
            f"{where} holds tensors that do not match the sha256 in its header; wanted the weights "
            "as they were written; the file is damaged or was changed; get it again."
        )
    network = network_of_tensors(tensors, where)
    record = _record(header, network, hashlib.sha256(content).hexdigest(), where)
    check_block_size(record.block_size, record.voxel_size, record.depth, where)
    return Denoiser(network, record)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and values, whatever their order in a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _header(content: bytes) -> dict[str, str]:
    """Return the plain strings of the header (8 bytes of its length, then JSON)."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return {str(key): str(value) for key, value in metadata.items()}


def _record(
    header: Mapping[str, str], network: BlushUNet, sha256: str, where: str
) -> WeightsRecord:
    try:
        voxel_size, block_size = (float(header[key]) for key in _FIGURES)
        if not (math.isfinite(voxel_size) and block_size == int(block_size)):
            raise ValueError
    except (KeyError, ValueError, OverflowError):
        said = {key: header.get(key) for key in _FIGURES}
        raise WeightsError(
            f"{where} states {said} in its header; wanted a voxel size in A and a block size in "
            "voxels; write it with save_denoiser."
        ) from None
    return WeightsRecord(
        name=header.get("name", Path(where).stem),
        version=header.get("version", "unknown"),
        sha256=sha256,
        voxel_size=voxel_size,
        block_size=int(block_size),
        width=network.width,
        depth=network.depth,
        license=header.get("license", "unknown"),
        source=header.get("source") or where,
        description=header.get("description", ""),
    )
