"""Large phases modulo one turn, accurate in float32: ``sum_i c[b, i] g[i, k] mod 1``.

A phase of a thousand radian cannot be formed in float32 without losing its last digits, and those
are the ones that a sine sees. Where the device has float64, the sum is formed in it. Where it has
not (Apple's GPUs), each factor is split into a head of 12 bits and the rest: products of heads are
exact in float32 and lose whole turns without error, and all other products are small.
"""

from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Arithmetic: TypeAlias = Literal["double", "split"]

_HEAD_BITS = 12  # two heads make the 24 bits of a float32 mantissa


class WrappedPhase:
    """Fixed terms ``g (terms, k)`` to be summed with coefficients that change from image to image.

    Parameters
    ----------
    terms : (terms, k) float64
        One row per term.
    device : torch.device
        Where phases are wanted.
    arithmetic : {"double", "split"}, optional
        Default: double where the device has float64.
    """

    def __init__(
        self,
        terms: Float[Tensor, "terms k"],
        device: torch.device,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        self.device = device
        self.arithmetic: Arithmetic = arithmetic or ("split" if device.type == "mps" else "double")
        terms = terms.to(torch.float64)
        if self.arithmetic == "double":
            self._terms = terms.to(device)
        else:
            head, tail = split_heads(terms)
            self._head, self._tail = head.float().to(device), tail.float().to(device)

    def turns(
        self, coefficients: Float[Tensor, "b terms"], offset: Float[Tensor, "b 1"], count: int
    ) -> Float[Tensor, "b count"]:
        """Return ``coefficients @ terms + offset`` less whole turns, for ``count`` columns.

        Parameters
        ----------
        coefficients : (b, terms) float64
            Turns per unit of each term.
        offset : (b, 1) float64
            Turns.
        count : int

        Returns
        -------
        (b, count) float64 ("double") or float32 ("split")
            Within (-1, 1) ("double"), or within plus or minus the number of terms plus two
            ("split"): small enough for a sine in float32 either way.
        """
        if self.arithmetic == "double":
            phase = torch.addmm(
                offset.to(self.device), coefficients.to(self.device), self._terms[:, :count]
            )
            return phase.frac_()
        head, tail = split_heads(coefficients)
        head, tail = head.float().to(self.device), tail.float().to(self.device)
        phase = offset.frac().float().to(self.device).expand(-1, count).clone()
        for i in range(coefficients.shape[1]):
            term_head, term_tail = self._head[i, :count], self._tail[i, :count]
            phase += (head[:, i, None] * term_head).frac_()
            phase += head[:, i, None] * term_tail + tail[:, i, None] * (term_head + term_tail)
        return phase


def split_heads(
    values: Float[Tensor, "*shape"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Split float64 values into a head of 12 significant bits and the rest, ``head + tail``."""
    mantissa, exponent = torch.frexp(values)
    head = torch.ldexp(torch.round(mantissa * 2**_HEAD_BITS), exponent - _HEAD_BITS)
    return head, values - head
