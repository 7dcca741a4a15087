"""Instance normalization that leaves features on the CPU where they lie.

Convolutions want channels last there; the library's instance normalization brings every map of
features into the other order and back, which takes a quarter of a training step. Batch
normalization of one block is the same sum and has kernels for both orders, so blocks are done in
turn.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class InstanceNorm(nn.InstanceNorm3d):
    """``torch.nn.InstanceNorm3d`` with the same tensors and result."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalize ``(b, c, d, h, w)`` over the last three axes."""
        if not _lies_channels_last(features):
            return super().forward(features)
        normalized: Tensor = _BlockByBlock.apply(features, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return normalized


def _lies_channels_last(features: Tensor) -> bool:
    return (
        features.device.type == "cpu"
        and features.ndim == 5
        and features.is_contiguous(memory_format=torch.channels_last_3d)
        and not features.is_contiguous()
    )


class _BlockByBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        normalized = torch.empty_like(features)
        # One row of statistics per block; half precision is summed in single.
        mean, inverse_std = (weight.new_empty(features.shape[:2]) for _ in range(2))
        for i in range(len(features)):
            torch.native_batch_norm(
                features[i : i + 1], weight, bias, None, None, True, 0.0, eps,
                out=(normalized[i : i + 1], mean[i], inverse_std[i]),
            )  # fmt: skip
        ctx.save_for_backward(features, weight, mean, inverse_std)
        ctx.eps = eps
        return normalized

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, mean, inverse_std = ctx.saved_tensors
        slope = slope.contiguous(memory_format=torch.channels_last_3d)
        of_features = torch.empty_like(features)
        of_weight, of_bias = torch.empty_like(mean), torch.empty_like(mean)
        for i in range(len(features)):
            torch.ops.aten.native_batch_norm_backward.out(
                slope[i : i + 1], features[i : i + 1], weight, None, None, mean[i],
                inverse_std[i], True, ctx.eps, [True, True, True],
                out0=of_features[i : i + 1], out1=of_weight[i], out2=of_bias[i],
            )  # fmt: skip
        return of_features, of_weight.sum(dim=0), of_bias.sum(dim=0), None
