"""Images that lie in many MRC files, as the tensors that a refinement reads."""

import torch
from torch import Tensor

from napari_blush.conventions import ImageStack
from napari_blush.io.image_stack import StackImages


class StackImageSource(StackImages):
    """An ``ImageSource`` over images that lie in many files; see ``StackImages``."""

    def read(self, indices: Tensor) -> ImageStack:
        """Read images; ``indices (b,)`` int64 to ``(b, n, n)`` float32 on the CPU.

        Raises
        ------
        MrcFileError
            When the images of this call differ in size, or a file cannot be read.
        """
        rows = indices.to(device="cpu", dtype=torch.int64).numpy()
        return torch.from_numpy(self.read_rows(rows))
