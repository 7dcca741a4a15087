"""Figures on pairs not trained on: loss, correlation with the other half, solvent power."""

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_blush.data_model.training_settings import TrainingSettings
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.training.augmentation import Augmentation, draw_augmentation
from napari_blush.denoiser.training.compute import autocast
from napari_blush.denoiser.training.events import ValidationResult
from napari_blush.denoiser.training.loss import first_inputs, training_loss
from napari_blush.denoiser.training.pairs import TrainingPair
from napari_blush.denoiser.training.views import ViewMaker, Views
from napari_blush.numerics.shells import shell_sum


class Validation:
    """Looks at the same blocks every time.

    Parameters
    ----------
    settings : TrainingSettings
    pairs : sequence of TrainingPair
    views : ViewMaker
    precision : str
    """

    def __init__(
        self,
        settings: TrainingSettings,
        pairs: Sequence[TrainingPair],
        views: ViewMaker,
        precision: str,
    ) -> None:
        self._settings, self._pairs, self._views = settings, list(pairs), views
        self._precision = precision

    @torch.no_grad()
    def run(self, network: BlushUNet, step: int) -> ValidationResult:
        """Return the figures of a network."""
        network.eval()
        losses, identities = [], []
        curves = _Curves(self._settings.block_size, self._views.device)
        example = None
        for index, pair in enumerate(self._pairs):
            augmented = self._augmented(pair, index)
            with autocast(self._precision, self._views.device):
                terms = training_loss(
                    network, augmented, index % 2, self._views.voxel_size, mask_weight=0.0
                )
            losses.append(float(terms.density))
            identities.append(float(terms.identity))
            plain = self._plain(pair, index)
            inputs = first_inputs(plain, self._views.voxel_size)
            with autocast(self._precision, self._views.device):
                denoised = network(*inputs).denoised.float()
            raw = inputs.density.reshape(2, -1, *denoised.shape[1:])
            denoised = denoised.reshape(raw.shape)
            curves.add(raw, denoised, plain.mask)
            if example is None:
                middle = raw.shape[-1] // 2
                example = torch.stack(
                    [raw[0, 0, middle], denoised[0, 0, middle], raw[1, 0, middle]]
                ).cpu()
        raw_fsc, denoised_fsc = curves.correlations()
        return ValidationResult(
            step,
            sum(losses) / len(losses),
            sum(identities) / len(identities),
            raw_fsc,
            denoised_fsc,
            1 / (self._settings.block_size * self._views.voxel_size),
            curves.solvent_power(),
            torch.empty(0) if example is None else example,
        )

    def _augmented(self, pair: TrainingPair, index: int) -> Views:
        generator = torch.Generator().manual_seed(index)
        drawn = draw_augmentation(
            self._settings, [pair.inside], [pair.box_size], self._views.voxel_size, generator
        )
        return self._views.make([pair], drawn, generator)

    def _plain(self, pair: TrainingPair, index: int) -> Views:
        """Return blocks as they are: nothing rotated, filtered or added."""
        generator = torch.Generator().manual_seed(index)
        chosen = torch.randint(len(pair.inside), (2,), generator=generator)
        centers = pair.inside[chosen]
        b = len(centers)
        nothing = Augmentation(
            centers,
            torch.eye(3).expand(b, 3, 3),
            torch.zeros(b, 3),
            torch.zeros(b, dtype=torch.bool),
            torch.zeros(b, 3, 3),
            torch.zeros(b, 3, 3),
            torch.zeros(b),
            torch.zeros(b, 2),
            torch.zeros(b),
        )
        return self._views.make([pair] * b, nothing, generator)


class _Curves:
    """Sums over blocks of what correlations and powers need."""

    def __init__(self, block_size: int, device: torch.device) -> None:
        self._taper = _taper(block_size, device)
        shells = block_size // 2 + 1
        # cross raw, power raw, power other; cross denoised, power denoised
        self._raw = torch.zeros(3, shells, dtype=torch.float64)
        self._denoised = torch.zeros(3, shells, dtype=torch.float64)
        self._solvent = torch.zeros(2, dtype=torch.float64)

    def add(self, raw: Tensor, denoised: Tensor, mask: Tensor) -> None:
        """Take blocks ``(2, b, d, d, d)`` of both halves."""
        window = self._taper * mask
        other = _transform(raw.flip(0), window)
        for sums, given in ((self._raw, raw), (self._denoised, denoised)):
            mine = _transform(given, window)
            d = raw.shape[-1]
            sums += torch.stack(
                [
                    shell_sum(part, d, 3).sum(dim=(0, 1)).double().cpu()
                    for part in (
                        (mine * other.conj()).real,
                        mine.abs().square(),
                        other.abs().square(),
                    )
                ]
            )
        outside = 1 - mask
        for i, given in enumerate((raw, denoised)):
            mean = (given * outside).sum(dim=(-3, -2, -1), keepdim=True) / outside.sum(
                dim=(-3, -2, -1), keepdim=True
            ).clamp_min(1)
            self._solvent[i] += float(((given - mean).square() * outside).sum())

    def correlations(self) -> tuple[Tensor, Tensor]:
        """Return the pooled correlation of raw, and of denoised, with the raw other half."""
        curves = []
        for cross, mine, other in (self._raw, self._denoised):
            curve = (cross / (mine * other).sqrt().clamp_min(1e-30)).float()
            curve[0] = 1.0  # means were subtracted
            curves.append(curve)
        return curves[0], curves[1]

    def solvent_power(self) -> float:
        """Return the power outside the mask after by that before."""
        before, after = self._solvent.tolist()
        return after / before if before > 0 else 0.0


def _transform(blocks: Tensor, window: Tensor) -> Tensor:
    weight = window / window.sum(dim=(-3, -2, -1), keepdim=True).clamp_min(1e-6)
    mean = (blocks * weight).sum(dim=(-3, -2, -1), keepdim=True)
    transform: Tensor = torch.fft.rfftn((blocks - mean) * window, dim=(-3, -2, -1))
    return transform


def _taper(size: int, device: torch.device) -> Tensor:
    """Return a window that falls to zero at the faces of a block."""
    axis = torch.hann_window(size + 2, periodic=False, device=device)[1:-1].sqrt()
    return axis[:, None, None] * axis[:, None] * axis
