"""The weight files of the published Blush release, read without executing anything in them.

A bundle is what the tensor library saves of a dict: ``model_state_dict``, ``voxel_size``,
``block_size``, ``no_mask``, and ``model_definition``, the Python source of the network. The
release runs that source; here it is ignored, and the tensors are put into our own network by a
written table of names. Whoever wrote a bundle can therefore choose numbers and nothing else.
"""

import gzip
import hashlib
import io
import math
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_blush.denoiser.denoiser import Denoiser
from napari_blush.denoiser.state_dict import check_block_size, network_of_tensors
from napari_blush.denoiser.weights_folder import LARGEST_FILE_BYTES
from napari_blush.denoiser.weights_record import WeightsRecord
from napari_blush.errors import WeightsError

NAME_TABLE = {
    "inc.double_conv.{part}.{kind}": "inc.double_conv.{part}.{kind}",
    "down.{level}.double_conv.{part}.{kind}": "down.{level}.double_conv.{part}.{kind}",
    "up.{level}.conv.double_conv.{part}.{kind}": "up.{level}.conv.double_conv.{part}.{kind}",
    "outc.{kind}": "outc.{kind}",
}
"""Names in a bundle and names in ``BlushUNet``."""

_PARTS = ("conv1", "norm1", "conv2", "norm2")
_KINDS = ("weight", "bias")
_MANY_LEVELS = 16
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
_NUMBER_CODES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
_WANTED_GLOBAL = re.compile(r"GLOBAL ([\w.<>]+)")


def denoiser_of_bundle(content: bytes, where: str) -> Denoiser:
    """Return the denoiser that a bundle holds, gzip'd or not.

    Parameters
    ----------
    content : bytes
        Of the whole file; its sha256 goes into the record.
    where : str
        Name of the file, for messages.

    Raises
    ------
    WeightsError
        When the file is damaged, unpacks to an absurd size, wants anything but tensors and plain
        values, or is not of Blush's network.
    """
    entries = _plain_entries(_unpacked(content, where), where)
    tensors = _state_dict(entries, where)
    network = network_of_tensors(_renamed(tensors, where), where)
    voxel_size = _number(entries, "voxel_size", where)
    block_size = _number(entries, "block_size", where)
    if block_size != int(block_size):
        raise WeightsError(f"{where} states blocks of {block_size} voxels; wanted a whole number.")
    check_block_size(int(block_size), voxel_size, network.depth, where)
    record = WeightsRecord(
        name=_stem(where),
        version="unknown",
        sha256=hashlib.sha256(content).hexdigest(),
        voxel_size=voxel_size,
        block_size=int(block_size),
        width=network.width,
        depth=network.depth,
        source=where,
        description="bundle of the published release's form",
    )
    return Denoiser(network, record)


def bundle_names(depth: int) -> dict[str, str]:
    """Return the names of a bundle's tensors and, for each, that of ours."""
    names = {}
    for theirs, ours in NAME_TABLE.items():
        for level in range(depth) if "{level}" in theirs else (0,):
            for part in _PARTS if "{part}" in theirs else ("",):
                for kind in _KINDS:
                    values = {"level": level, "part": part, "kind": kind}
                    names[theirs.format(**values)] = ours.format(**values)
    return names


def _stem(where: str) -> str:
    return Path(where).name.removesuffix(".gz").removesuffix(".ckpt")


def _unpacked(content: bytes, where: str) -> bytes:
    """Return the bytes under gzip, if there is any, in bounded memory."""
    if not content.startswith(_GZIP_MAGIC):
        return content
    parts, size = [], 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            while chunk := packed.read(_CHUNK):
                parts.append(chunk)
                size += len(chunk)
                if size > LARGEST_FILE_BYTES:
                    raise WeightsError(
                        f"{where} unpacks to more than {LARGEST_FILE_BYTES} bytes; wanted weights; "
                        "it is not a bundle; give another file."
                    )
    except (OSError, EOFError, zlib.error) as problem:
        raise WeightsError(
            f"{where} cannot be unpacked ({problem}); wanted a whole gzip file; it was cut short "
            "or damaged; copy or fetch it again."
        ) from problem
    return b"".join(parts)


def _plain_entries(content: bytes, where: str) -> Mapping[str, object]:
    """Return the dict of a bundle, made of tensors and plain values only."""
    _check_archive(content, where)
    try:
        with warnings.catch_warnings():
            # Files of old versions are read with a word about their typed storages.
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(_NUMBER_READERS):
                entries = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        wanted = _WANTED_GLOBAL.search(str(problem))
        if wanted is None:
            raise _damaged(where, problem) from problem
        raise WeightsError(
            f"{where} wants {wanted[1]} to be run or made; wanted tensors and plain values only; "
            "nothing of it was executed; do not use it unless you know why it wants that."
        ) from problem
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
            AssertionError, ArithmeticError, MemoryError, OSError, ImportError, struct.error,
            zlib.error) as problem:  # fmt: skip
        raise _damaged(where, problem) from problem
    if not isinstance(entries, dict):
        raise WeightsError(
            f"{where} holds a {type(entries).__name__}; wanted a dict with model_state_dict, "
            "voxel_size and block_size; give another file."
        )
    return entries


def _check_archive(content: bytes, where: str) -> None:
    """Refuse an archive whose entries would unpack to more than they take in the file."""
    if not content.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as problem:
        raise _damaged(where, problem) from problem
    size = sum(entry.file_size for entry in entries)
    if size > len(content):
        raise WeightsError(
            f"{where} has {len(content)} bytes and its entries claim {size}; wanted an archive "
            "that is not compressed, as the tensor library writes it; give another file."
        )


def _damaged(where: str, problem: BaseException) -> WeightsError:
    reason = (str(problem).splitlines() or [""])[0][:200] or type(problem).__name__
    if "weights_only" in reason:  # torch goes on to say how to read it unsafely
        reason = "it holds no tensors that torch knows"
    return WeightsError(
        f"{where} cannot be read as weights ({reason}); wanted a bundle as torch.save writes it; "
        "it was cut short, damaged, or is something else; copy or fetch it again."
    )


def _state_dict(entries: Mapping[str, object], where: str) -> Mapping[str, Tensor]:
    tensors = entries.get("model_state_dict")
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        known = ", ".join(str(key)[:40] for key in [*entries][:6]) or "nothing"
        raise WeightsError(
            f"{where} holds {known}; wanted model_state_dict with named tensors, voxel_size and "
            "block_size; give a bundle of Blush."
        )
    return tensors


def _renamed(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    names = bundle_names(_MANY_LEVELS)
    unknown = sorted(tensors.keys() - names.keys())
    if unknown:
        raise WeightsError(
            f"{where} has {len(unknown)} tensors that Blush's network has not, such as "
            f"{unknown[0][:80]!r}; wanted weights of that network; give another file."
        )
    return {names[name]: tensor for name, tensor in tensors.items()}


def _number(entries: Mapping[str, object], key: str, where: str) -> float:
    value = entries.get(key)
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WeightsError(
            f"{where} has {key} = {str(value)[:40]}; wanted a number; give another file."
        )
    return float(value)


class _NumberType:
    """Stands in for ``numpy.dtype``: remembers which number it is, and makes nothing."""

    def __init__(self, code: str, *ignored: object) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[object, ...]) -> None:
        if len(state) > 1 and state[1] in ("<", ">"):
            self.order = str(state[1])


def _number_reader(module: str) -> Callable[[object, object], float]:
    """Return what stands in for ``module.scalar``, which makes a NumPy number of bytes."""

    def scalar(kind: object, raw: object) -> float:
        if not isinstance(kind, _NumberType) or not isinstance(raw, bytes):
            raise pickle.UnpicklingError(f"GLOBAL {module}.scalar of something else than a number")
        if kind.code not in _NUMBER_CODES:
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype<{str(kind.code)[:8]}> of a number")
        return float(np.frombuffer(raw, np.dtype(kind.order + kind.code))[0])

    # The reader knows what it is allowed by module and name.
    scalar.__module__, scalar.__qualname__ = module, "scalar"
    return scalar


_NumberType.__module__, _NumberType.__qualname__ = "numpy", "dtype"
_NUMBER_READERS: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    _NumberType, *map(_number_reader, ("numpy.core.multiarray", "numpy._core.multiarray")),
]  # fmt: skip
