"""Prepared pairs that do not fit into memory: files that are mapped, page by page as wanted."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from napari_blush.denoiser.training.pairs import TrainingPair
from napari_blush.errors import TrainingError


class PairFiles:
    """Moves the maps of pairs into files of a folder.

    Parameters
    ----------
    folder : Path
        Made where it does not exist; the files in it are of no use to anything else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def moved(self, pair: TrainingPair) -> TrainingPair:
        """Return the pair with its maps on the disk; those of the given one can be let go.

        Raises
        ------
        TrainingError
            When the disk refuses.
        """
        self._number += 1
        return replace(
            pair,
            halves=self._mapped(pair.halves, "halves"),
            targets=self._mapped(pair.targets, "targets"),
            mask=self._mapped(pair.mask, "mask"),
        )

    def _mapped(self, volume: Tensor, name: str) -> Tensor:
        path = self._folder / f"{self._number:06d}_{name}.f16"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            volume.contiguous().numpy().tofile(path)
        except OSError as problem:
            raise TrainingError(
                f"The prepared half-maps cannot be kept in {path} ({problem.strerror or problem}); "
                "wanted room for them; free some or choose another output folder."
            ) from problem
        mapped = torch.from_file(str(path), size=volume.numel(), dtype=volume.dtype)
        return mapped.reshape(volume.shape)


def bytes_of_pair(box_size: int) -> int:
    """Return the memory that a prepared pair takes: five maps of float16."""
    return 5 * 2 * int(box_size) ** 3
