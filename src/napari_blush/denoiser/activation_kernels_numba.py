"""Instance normalization and SiLU of bfloat16 features in one go, in machine code for the CPU.

The library does them one after the other, with the exponential of its mathematical library; around
convolutions on matrix units that takes longer than the convolutions. Here features are read twice
and written once, on whole vectors: bfloat16 is the upper half of a float32, and the exponential a
polynomial that is as good as what bfloat16 can hold.

Needs numba; :mod:`instance_norm` and ``torch.nn.SiLU`` are the specification.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, no_type_check

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from napari_blush.numerics.worker_threads import run_on_threads

_LANES = 256
"""Features side by side in a row: enough for whole vectors, whatever the number of channels."""

_LOG2_E = np.float32(1.4426950408889634)
# 2 ** f for f from 0 to 1, to 1e-6 (least squares on Chebyshev points, value 1 at both ends).
_P1, _P2, _P3 = np.float32(0.6931472), np.float32(0.2402265), np.float32(0.0555041)
_P4, _P5 = np.float32(0.0096181), np.float32(0.0013333)
_BIAS = np.float32(128)  # of the exponent, and one: what is truncated must be positive
_LOWEST, _HIGHEST = np.float32(2), np.float32(250)  # a float32 has no further exponents

_FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}


def normalize_and_activate(features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> None:
    """Normalize each channel of each block and apply SiLU, in place.

    Parameters
    ----------
    features : (b, c, d, h, w) bfloat16
        On the CPU, channels last.
    weight, bias : (c,) float32
        Of the normalization.
    eps : float
        Added to the variance.
    """
    channels = features.shape[1]
    rows = features.permute(0, 2, 3, 4, 1).view(torch.int16).numpy().view(np.uint16)
    places = rows[0].size // channels
    side = 1
    while places % (2 * side) == 0 and 2 * side * channels <= _LANES:
        side *= 2
    blocks = rows.reshape(len(rows), -1, side * channels)
    affine = weight.numpy().astype(np.float64), bias.numpy().astype(np.float64)
    run_on_threads(partial(_one_block, block, *affine, eps) for block in blocks)


def _one_block(
    block: npt.NDArray[np.uint16],
    weight: npt.NDArray[np.float64],
    bias: npt.NDArray[np.float64],
    eps: float,
) -> None:
    n_rows, lanes = block.shape
    channels = len(weight)
    count = n_rows * lanes // channels
    sums = np.zeros((2, lanes), np.float32)
    # Differences from values of the channel itself: large means would leave few digits.
    origin = np.tile(_as_float(block[0, :channels]), lanes // channels)
    _sum(block, origin, sums[0], sums[1])
    first, second = sums.reshape(2, -1, channels).astype(np.float64).sum(1) / count
    scale = weight / np.sqrt(np.maximum(second - first**2, 0) + eps)
    shift = bias - (first + origin[:channels]) * scale
    wide = [np.tile(each, lanes // channels).astype(np.float32) for each in (scale, shift)]
    _apply(block, *wide)


def _as_float(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    return (values.astype(np.uint32) << 16).view(np.float32)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the interpreter's lock, kept on disk where there is a place to keep it."""
    settings: dict[str, Any] = {"nogil": True, "fastmath": _FAST, "error_model": "numpy"}
    try:
        compiled: Callable[..., Any] = njit(cache=True, **settings)(function)
    except RuntimeError:  # numba found no folder that it may write to
        compiled = njit(**settings)(function)
    return compiled


@_compiled
@no_type_check
def _sum(block, origin, first, second):
    for row in range(block.shape[0]):
        for lane in range(block.shape[1]):
            value = np.uint32(np.uint32(block[row, lane]) << np.uint32(16)).view(np.float32)
            value = value - origin[lane]
            first[lane] += value
            second[lane] += value * value


@_compiled
@no_type_check
def _apply(block, scale, shift):
    one, half = np.float32(1), np.uint32(0x7FFF)
    for row in range(block.shape[0]):
        for lane in range(block.shape[1]):
            value = np.uint32(np.uint32(block[row, lane]) << np.uint32(16)).view(np.float32)
            value = value * scale[lane] + shift[lane]
            power = _BIAS - value * _LOG2_E
            power = power if power > _LOWEST else _LOWEST
            power = power if power < _HIGHEST else _HIGHEST
            whole = np.int32(power)
            part = power - np.float32(whole)
            series = one + part * (_P1 + part * (_P2 + part * (_P3 + part * (_P4 + part * _P5))))
            grown = np.uint32((whole - np.int32(1)) << np.int32(23)).view(np.float32) * series
            bits = np.float32(value / (one + grown)).view(np.uint32)
            # To the nearest bfloat16, to the even one between two.
            bits = np.uint32(bits + half + ((bits >> np.uint32(16)) & np.uint32(1)))
            block[row, lane] = np.uint16(bits >> np.uint32(16))
