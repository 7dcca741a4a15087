"""``|X - CTF P|^2 / sigma^2`` for many poses at once, as matrix products.

Expanded, and without the term that is the same for every pose of an image::

    log p = Re <X_t C / sigma^2, P_o> - 1/2 <C^2 / sigma^2, |P_o|^2>

The cross term is a real matrix product of (images x shifts) with (orientations) over ``2 K``
numbers, the power term one of (images) with (orientations) over ``K``. Never a complex product:
half of it would be thrown away.
"""

import torch
from torch import Tensor


def shifted_images(weighted: Tensor, phases: Tensor) -> Tensor:
    """Return images moved by every trial translation.

    Parameters
    ----------
    weighted : (b, k) complex64
        ``X C / sigma^2``, that is ``masked * ctf`` of ``PreparedImages``.
    phases : (t, k) or (b, t, k) complex64

    Returns
    -------
    (b, t, k) complex64
    """
    return weighted[:, None, :] * phases


def matrix_product(rows: Tensor, columns: Tensor, precision: str, out: Tensor) -> None:
    """Write ``rows @ columns.T`` to ``out`` in float32, multiplying at the given precision.

    Parameters
    ----------
    rows : (m, k) float32
    columns : (n, k) float32
    precision : {"float32", "tf32", "bfloat16"}
        "tf32" and "bfloat16" round the factors to 10 and 7 bits of mantissa on CUDA and add up in
        float32; elsewhere the product is made in float32.
    out : (m, n) float32
    """
    if rows.device.type != "cuda" or precision == "float32":
        torch.mm(rows, columns.T, out=out)
        return
    if precision == "bfloat16":
        out.copy_(torch.mm(rows.bfloat16(), columns.bfloat16().T, out_dtype=torch.float32))
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        torch.mm(rows, columns.T, out=out)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def as_real_rows(values: Tensor) -> Tensor:
    """Return complex ``(..., k)`` as real ``(..., 2 k)``, interleaved, without copying."""
    return torch.view_as_real(values).flatten(-2)


def dense_log_likelihood(
    images: Tensor, ctf_power: Tensor, slices: Tensor, slices_power: Tensor
) -> Tensor:
    """Return log-likelihoods of all images against a shared set of slices.

    Parameters
    ----------
    images : (b, t, k) complex64
        From ``shifted_images``.
    ctf_power : (b, k) float32
        ``ctf^2`` of ``PreparedImages``.
    slices : (o, k) complex64
    slices_power : (o, k) float32

    Returns
    -------
    (b, t, o) float32
        ``4 k`` floating-point operations per entry.
    """
    b, t, _ = images.shape
    cross = as_real_rows(images).reshape(b * t, -1) @ as_real_rows(slices).T
    power = ctf_power @ slices_power.T
    return cross.view(b, t, -1).sub_(power[:, None, :], alpha=0.5)


def squared_parts(slices: Tensor) -> Tensor:
    """Return the squares of real and imaginary parts, complex ``(..., k)`` to ``(..., 2 k)``.

    Pairs are not added up: weighting both with the same number in a product does that for free.
    """
    rows = as_real_rows(slices)
    return rows * rows


def gathered_power(ctf_power: Tensor, squares: Tensor) -> Tensor:
    """Return ``<C^2 / sigma^2, |P_o|^2>``, ``(b, k)`` and ``(b, o, 2 k)`` to ``(b, 1, o)``."""
    doubled = ctf_power.repeat_interleave(2, dim=-1)
    return torch.bmm(doubled[:, None, :], squares.transpose(1, 2))


def gathered_log_likelihood(
    images: Tensor, ctf_power: Tensor, slices: Tensor, squares: Tensor
) -> Tensor:
    """Return log-likelihoods of each image against slices of its own.

    Parameters
    ----------
    images : (b, t, k) complex64
    ctf_power : (b, k) float32
    slices : (b, o, k) complex64
    squares : (b, o, 2 k) float32
        ``squared_parts`` of the slices.

    Returns
    -------
    (b, t, o) float32
    """
    cross = torch.bmm(as_real_rows(images), as_real_rows(slices).transpose(1, 2))
    return cross.sub_(gathered_power(ctf_power, squares), alpha=0.5)


def correlation_from_terms(cross: Tensor, power: Tensor) -> Tensor:
    """Return ``cross / sqrt(power)``: the correlation coefficient times the image's norm.

    The slices' norm is divided out, so the grey scale of the reference does not matter; the
    image's norm is the same for every pose and left in.
    """
    return cross * torch.rsqrt(power.clamp(min=1e-30))
