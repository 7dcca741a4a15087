"""The denoiser: a 3-D U-Net that predicts the noise of a standardised block, and a mask logit.

The architecture and the names of its tensors are those of the published Blush release (Kimanius
et al., Nat. Methods 2024), so that its weights can be loaded: at width 16 and depth 5 it has
12,974,578 parameters in 90 tensors. The dropout of the paper has no tensors; the release has none.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from napari_blush.denoiser.instance_norm import InstanceNorm

STANDARD_DEVIATION_FLOOR = 1e-12  # of a block, as in the release


class BlockPrediction(NamedTuple):
    """What the network makes of blocks: the denoised density and the logit of its mask."""

    denoised: Float[Tensor, "b d h w"]
    mask_logit: Float[Tensor, "b d h w"]


class BlushUNet(nn.Module):
    """U-Net over blocks of density.

    Parameters
    ----------
    width : int
        Channels of the first level; doubled at each level but the last.
    depth : int
        Number of halvings; the block side must be a multiple of ``2 ** depth``.
    dropout : float
        Probability that a channel of the three deepest levels is dropped in training (paper:
        0.5, positions unpublished); without effect in evaluation.
    """

    def __init__(self, width: int = 16, depth: int = 5, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        channels = [width * 2 ** min(level, depth - 1) for level in range(depth + 1)]
        self.inc = _Level(2, channels[0], channels[0])
        self.down = nn.ModuleList(
            _Down(channels[level], channels[level + 1]) for level in range(depth)
        )
        outputs = [channels[max(level - 1, 0)] for level in reversed(range(depth))]
        inputs = [channels[depth], *outputs[:-1]]
        skips = [channels[level] for level in reversed(range(depth))]
        self.up = nn.ModuleList(_Up(*sizes) for sizes in zip(skips, inputs, outputs, strict=True))
        self.outc = nn.Conv3d(width, 2, kernel_size=1)
        self.dropout = nn.Dropout3d(dropout)

    def forward(
        self, density: Float[Tensor, "b d h w"], local_std: Float[Tensor, "b d h w"]
    ) -> BlockPrediction:
        """Return the denoised blocks, on the scale of ``density``.

        Parameters
        ----------
        density : (b, d, h, w)
            Any intensity scale; each block is standardised here.
        local_std : (b, d, h, w)
            Local standard deviation of the whole map, relative to its mean (``local_std.py``).
        """
        std, mean = torch.std_mean(density, dim=(1, 2, 3), keepdim=True)
        std = std + STANDARD_DEVIATION_FLOOR
        standardized = (density - mean) / std
        noise, mask_logit = self._predict(torch.stack([standardized, local_std], dim=1)).unbind(1)
        return BlockPrediction((standardized - noise) * std + mean, mask_logit)

    def _predict(self, channels: Tensor) -> Tensor:
        features = self.inc(channels)
        skips = [features]
        for level, down in enumerate(self.down, start=1):
            features = self._dropped(down(features), level)
            skips.append(features)
        features = skips.pop()
        for level, up in zip(reversed(range(self.depth)), self.up, strict=True):
            features = self._dropped(up(skips.pop(), features), level)
        predicted: Tensor = self.outc(features)
        return predicted

    def _dropped(self, features: Tensor, level: int) -> Tensor:
        """Drop channels where they are many; the finest levels carry the density itself."""
        if level <= self.depth - 3:
            return features
        dropped: Tensor = self.dropout(features)
        return dropped


class DoubleConvolution(nn.Module):
    """Twice a convolution, its normalization and its activation."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, middle, kernel_size=3, padding=1)
        self.norm1 = InstanceNorm(middle, affine=True)
        self.conv2 = nn.Conv3d(middle, outputs, kernel_size=3, padding=1)
        self.norm2 = InstanceNorm(outputs, affine=True)
        self.activation = nn.SiLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features ``(b, outputs, d, h, w)``."""
        middle: Tensor = self.activation(self.norm1(self.conv1(features)))
        outputs: Tensor = self.activation(self.norm2(self.conv2(middle)))
        return outputs


class _Level(nn.Module):
    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.double_conv = DoubleConvolution(inputs, middle, outputs)

    def forward(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.double_conv(features)
        return outputs


class _Down(_Level):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, outputs)
        self.pool = nn.MaxPool3d(2)

    def forward(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.double_conv(self.pool(features))
        return outputs


class _Up(nn.Module):
    def __init__(self, skip: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
        self.conv = _Level(skip + inputs, (skip + inputs) // 2, outputs)

    def forward(self, skip: Tensor, features: Tensor) -> Tensor:
        outputs: Tensor = self.conv(torch.cat([skip, self.upsample(features)], dim=1))
        return outputs
