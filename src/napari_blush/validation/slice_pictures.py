"""Slices through maps as small gray pictures inside a page: PNG as a ``data:`` address."""

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_blush.conventions import Volume

Gray = NDArray[np.uint8]

_LARGEST = 256
"""Pixels along an edge of a picture; larger maps are averaged down."""

_DARKEST, _BRIGHTEST = 0.02, 0.998
"""Parts of the pixels below black and white."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BIT_GRAY = (8, 0, 0, 0, 0)


def central_slices(volume: Volume) -> list[NDArray[np.float32]]:
    """Return the middle slices across z, y and x, averaged down where they are large.

    Parameters
    ----------
    volume : (n, n, n)
    """
    values = volume.detach().cpu().float().numpy()
    middle = values.shape[0] // 2
    return [_averaged(values.take(middle, axis=axis)) for axis in range(3)]


def gray_pictures(slices: Sequence[NDArray[np.float32]]) -> list[str]:
    """Return slices as PNG addresses, all with the same black and white.

    Parameters
    ----------
    slices : sequence of (h, w)
    """
    return [png_address(gray) for gray in grays(slices)]


def montage(rows: Sequence[Sequence[NDArray[np.float32]]], enlarged: int = 1) -> bytes:
    """Return rows of slices side by side as one PNG file; each row has grays of its own.

    Parameters
    ----------
    rows : sequence of sequences of (n, n)
    enlarged : int
        Pixels of the picture along the edge of a pixel of a slice.
    """
    pieces = [np.concatenate(grays(row), axis=1) for row in rows]
    whole = np.concatenate(pieces, axis=0)
    return png(whole.repeat(enlarged, axis=0).repeat(enlarged, axis=1))


def grays(slices: Sequence[NDArray[np.float32]]) -> list[Gray]:
    """Return slices in 8 bits, all with the same black and white."""
    every = np.concatenate([one.ravel() for one in slices])
    low, high = np.quantile(every, (_DARKEST, _BRIGHTEST))
    span = float(high - low) or 1.0
    return [(255 * np.clip((one - low) / span, 0, 1)).astype(np.uint8) for one in slices]


def png_address(gray: Gray) -> str:
    """Return a gray picture (h, w) as the address of an image in a page."""
    return "data:image/png;base64," + base64.b64encode(png(gray)).decode()


def png(gray: Gray) -> bytes:
    """Return a gray picture (h, w) as a PNG file (PNG specification, third edition, W3C)."""
    height, width = gray.shape
    # Each row begins with the number of its filter; 0 is none.
    rows = np.concatenate([np.zeros((height, 1), np.uint8), gray], axis=1).tobytes()
    head = struct.pack(">II5B", width, height, *_EIGHT_BIT_GRAY)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def _averaged(values: NDArray[np.float32]) -> NDArray[np.float32]:
    step = -(-values.shape[0] // _LARGEST)
    whole = values.shape[0] // step * step
    blocks = values[:whole, :whole].reshape(whole // step, step, whole // step, step)
    averaged: NDArray[np.float32] = blocks.mean(axis=(1, 3))
    return averaged
