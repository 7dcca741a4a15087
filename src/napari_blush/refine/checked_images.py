"""Images that are looked at as they are read: one bad pixel must not poison a map in silence."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_blush.data_model.particles import ImageSource
from napari_blush.errors import RefinementError


@dataclass(frozen=True, slots=True)
class CheckedImages:
    """An ``ImageSource`` over another one that refuses values that are not finite."""

    source: ImageSource

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Tensor) -> Tensor:
        """Read images; ``indices (b,)`` int64 to ``(b, n, n)`` float32.

        Raises
        ------
        RefinementError
            When a pixel is not a number or infinite.
        """
        images = self.source.read(indices)
        bad = ~torch.isfinite(images).flatten(1).all(1)
        if bool(bad.any()):
            raise RefinementError(
                f"Image {int(indices[bad][0]) + 1} holds values that are not numbers; wanted "
                "finite pixels; remove that particle or extract it again."
            )
        return images
