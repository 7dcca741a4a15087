"""One half-map denoised again and again, and after every movement of the block grid, in steps."""

from collections.abc import Generator
from dataclasses import dataclass, replace

from napari_blush.conventions import Volume
from napari_blush.denoiser.denoise_options import (
    BlockDenoiser,
    DenoiseOptions,
    DenoiseProgress,
)
from napari_blush.denoiser.inference import denoise_part_steps
from napari_blush.validation.denoiser_stability import (
    MOVES,
    Deviation,
    Recycling,
    deviation,
    recycling,
)


@dataclass(frozen=True, slots=True)
class Steadiness:
    """What comes of a half-map when it is denoised in other ways.

    Parameters
    ----------
    recycled : Recycling
    moves : tuple of Deviation
        One for each of ``MOVES``.
    """

    recycled: Recycling
    moves: tuple[Deviation, ...]


def steadiness_steps(
    halves: tuple[Volume, Volume],
    voxel_size: float,
    mask: Volume,
    denoiser: BlockDenoiser,
    *,
    passes: int = 5,
) -> Generator[DenoiseProgress, None, Steadiness]:
    """Denoise both half-maps, then the first in other ways, and compare.

    Parameters
    ----------
    halves : pair of (n, n, n)
        Unfiltered.
    voxel_size : float
        Angstrom.
    mask : (n, n, n)
        Where maps are denoised and compared.
    denoiser : BlockDenoiser
        On the device where the work is to be done.
    passes : int
        Times that the map is denoised in a row; two at least.

    Yields
    ------
    DenoiseProgress
        Over all maps; closing the generator stops within one batch of blocks.

    Returns
    -------
    Steadiness
    """
    given = halves[0]
    options = DenoiseOptions(mask=mask)
    count = 1 + passes + len(MOVES)
    made = []
    for number, half in enumerate(halves):
        found = yield from denoise_part_steps(half, voxel_size, denoiser, options, (number, count))
        made.append(found.volume.cpu())
    again = [made[0]]
    while len(again) < passes:
        part = 1 + len(again), count
        found = yield from denoise_part_steps(again[-1], voxel_size, denoiser, options, part)
        again.append(found.volume.cpu())
    moves = []
    for number, move in enumerate(MOVES, start=1 + passes):
        turned = replace(options, mask=move(mask).contiguous())
        volume = move(given).contiguous()
        found = yield from denoise_part_steps(volume, voxel_size, denoiser, turned, (number, count))
        back = move.undone(found.volume.cpu())
        moves.append(deviation(move.name, back, made[0], made[1], mask))
    return Steadiness(recycling(given, again, mask), tuple(moves))
