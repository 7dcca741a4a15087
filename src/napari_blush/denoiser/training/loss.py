"""Equation 3 of the paper: noise against noise across the halves, after recycling."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from napari_blush.denoiser.network import BlockPrediction
from napari_blush.denoiser.training.local_std_blocks import block_local_std
from napari_blush.denoiser.training.views import Views


class LossTerms(NamedTuple):
    """What a step minimizes, and what it is compared to.

    ``total`` is ``density + mask_weight * mask``; ``identity`` is ``density`` for a network that
    changes nothing.
    """

    total: Float[Tensor, ""]
    density: Float[Tensor, ""]
    mask: Float[Tensor, ""]
    identity: Float[Tensor, ""]


class Inputs(NamedTuple):
    """What the network is given: blocks of half 1, then of half 2, and their second channel."""

    density: Float[Tensor, "b2 d d d"]
    local_std: Float[Tensor, "b2 d d d"]


def training_loss(
    network: nn.Module, views: Views, recycled: int, voxel_size: float, mask_weight: float
) -> LossTerms:
    """Return the loss of a batch; gradients pass through the last call of the network only.

    The input of half ``1 - k`` is compared to the target of half ``k``, for both ``k``.

    Parameters
    ----------
    network : BlushUNet, or any module of its arguments and results
    views : Views
    recycled : int
        ``r``: how often the blocks are denoised before the pass that learns.
    voxel_size : float
        Angstrom.
    mask_weight : float
        Of the cross-entropy of the predicted mask.
    """
    first = first_inputs(views, voxel_size)
    prediction = network(*recycle(network, first, views, recycled, voxel_size))
    weight = views.weight.repeat(2, 1, 1, 1)
    # Blocks are in the order of the input halves, so that the targets are crossed over here.
    target = views.targets.flip(0).flatten(0, 1)
    density = (weight * (prediction.denoised.float() - target).square()).mean()
    identity = (weight * (first.density - target).square()).mean()
    mask = functional.binary_cross_entropy_with_logits(
        prediction.mask_logit.float(), views.mask.repeat(2, 1, 1, 1), weight
    )
    return LossTerms(density + mask_weight * mask, density.detach(), mask.detach(), identity)


def first_inputs(views: Views, voxel_size: float) -> Inputs:
    """Return what the network sees first."""
    context = views.context.flatten(0, 1)
    margin = (context.shape[-1] - views.mask.shape[-1]) // 2
    inner = slice(margin, context.shape[-1] - margin)
    local_std = block_local_std(context, voxel_size) / _mean(views.mean_std)
    support = views.support.repeat(2, 1, 1, 1)
    return Inputs(context[:, inner, inner, inner] * support, local_std * support)


@torch.no_grad()
def recycle(
    network: nn.Module, inputs: Inputs, views: Views, times: int, voxel_size: float
) -> Inputs:
    """Denoise ``times`` times as the next iterations would: without dropout, the mask applied.

    The second channel is made anew from what the network returned. What lies around a block is
    not known denoised; it is mirrored in.
    """
    was_training = network.training
    network.eval()
    for _ in range(times):
        prediction: BlockPrediction = network(*inputs)
        denoised = prediction.denoised.float()
        inputs = recycled_inputs(denoised, views, voxel_size)
    network.train(was_training)
    return inputs


def recycled_inputs(denoised: Float[Tensor, "b2 d d d"], views: Views, voxel_size: float) -> Inputs:
    """Return the network's output as its next input."""
    margin = (views.context.shape[-1] - views.mask.shape[-1]) // 2
    support = views.support.repeat(2, 1, 1, 1)
    around = functional.pad(denoised[:, None], (margin,) * 6, mode="reflect")[:, 0]
    local_std = block_local_std(around, voxel_size) / _mean(views.recycled_mean_std)
    return Inputs(denoised * support, local_std * support)


def _mean(per_half: Float[Tensor, "2 b"]) -> Tensor:
    return per_half.flatten()[:, None, None, None].clamp_min(1e-6)
