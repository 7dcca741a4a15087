"""What a denoiser adds of its own: applied again and again, to noise, and past a resolution.

Three tables. On real half-maps (``betagal_dev``, RELION's, NAPARI_BLUSH_DATA): the power inside the
mask and in the solvent when the denoiser is applied six times in a row; and the correlation of the
halves, raw and denoised, when their phases are randomized apart from a shell on. On pure noise:
the correlation of two denoised maps that have nothing in common.
"""

import argparse
from collections.abc import Callable

import torch
from measuring.datasets import dataset
from measuring.tables import Row, markdown

from napari_blush.conventions import Volume
from napari_blush.denoiser.denoise_options import DenoiseOptions
from napari_blush.denoiser.inference import denoise_volume
from napari_blush.denoiser.weights import load_denoiser
from napari_blush.io.mrc import read_map
from napari_blush.numerics.correlation import fourier_shell_correlation
from napari_blush.numerics.filters import randomize_phases

TIMES = 6


def main() -> None:
    """Denoise and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--denoiser", default="default", help="name or file of the weights")
    parser.add_argument("--from-shell", type=int, default=18, help="phases are random from here")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    denoiser = load_denoiser(options.denoiser)
    data = dataset("betagal_dev")
    folder = data.folder / "relion313_reference"
    maps = [read_map(folder / f"half{half}_unfil.mrc") for half in (1, 2)]
    mask = read_map(data.folder / data.mask).volume
    voxel_size = maps[0].voxel_size
    chosen = DenoiseOptions(particle_diameter=data.particle_diameter)

    def denoised(volume: Volume) -> Volume:
        return denoise_volume(volume, voxel_size, denoiser, chosen).volume

    generator = torch.Generator().manual_seed(options.seed)
    print(denoiser.record)
    print(markdown(recycled(maps[0].volume, mask, denoised)))
    shell = options.from_shell
    first, second = (randomize_phases(each.volume, shell, generator) for each in maps)
    raw = fourier_shell_correlation(first * mask, second * mask)
    after = fourier_shell_correlation(denoised(first) * mask, denoised(second) * mask)
    print(markdown(curves(raw, after, shell - 2)))
    noise = [torch.randn(64, 64, 64, generator=generator) for _ in range(2)]
    bare = fourier_shell_correlation(noise[0], noise[1])
    print(markdown(curves(bare, fourier_shell_correlation(*map(denoised, noise)), 1)))


def recycled(volume: Volume, mask: Volume, denoised: Callable[[Volume], Volume]) -> list[Row]:
    """Return the power left after each application, over that of the raw map."""
    rows: list[Row] = []
    now = volume
    for number in range(1, TIMES + 1):
        now = denoised(now)
        inside = float((now * mask).square().sum() / (volume * mask).square().sum())
        outside = float((now * (1 - mask)).square().sum() / (volume * (1 - mask)).square().sum())
        rows.append({"times": number, "power in mask": inside, "in solvent": outside})
    return rows


def curves(raw: torch.Tensor, after: torch.Tensor, first: int) -> list[Row]:
    """Return both correlations by shell."""
    return [
        {"shell": shell, "raw": float(raw[shell]), "denoised": float(after[shell])}
        for shell in range(first, min(first + 14, len(raw)))
    ]


if __name__ == "__main__":
    main()
