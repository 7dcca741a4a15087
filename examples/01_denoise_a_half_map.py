"""Denoise a half-map once, and see what the network changed.

A denoised map is a reference for alignment. It is not a result: judge, build and deposit from the
half-maps that it came from.
"""

from pathlib import Path

from napari_blush import denoise_volume, load_denoiser, read_map, write_map

SAMPLE = Path(__file__).parents[1] / "sample_data"


def main(output: Path) -> None:
    """Denoise the first half-map of the sample data into a folder."""
    half_map = read_map(SAMPLE / "half_maps" / "half1.mrc")
    denoiser = load_denoiser("default")  # or the path of published weights
    found = denoise_volume(half_map.volume, half_map.voxel_size, denoiser)
    write_map(output / "half1_denoised.mrc", found.volume, half_map.voxel_size)
    changed = float((found.volume - half_map.volume).std() / half_map.volume.std())
    print(f"{denoiser.record.name}, sha256 {denoiser.record.sha256[:12]}")
    print(f"It changed the map by {changed:.2f} of its own standard deviation.")


if __name__ == "__main__":
    main(Path.cwd())
