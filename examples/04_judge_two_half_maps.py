"""What two half-maps say about their resolution, and a sharpened map weighted by it."""

from pathlib import Path

from napari_blush import read_map, resolution_report, write_map

SAMPLE = Path(__file__).parents[1] / "sample_data"


def main(output: Path) -> None:
    """Judge the half-maps of the sample data; write the sharpened map into a folder."""
    half1, half2 = (read_map(SAMPLE / "half_maps" / f"half{n}.mrc") for n in (1, 2))
    report = resolution_report(half1.volume, half2.volume, half1.voxel_size)
    print(f"{report.resolution:.2f} A at 0.143, {report.resolution_half:.2f} A at 0.5 (corrected)")
    print(f"{report.resolution_unmasked:.2f} A without mask, {report.resolution_masked:.2f} A with")
    write_map(output / "sharpened.mrc", report.sharpened, report.voxel_size)


if __name__ == "__main__":
    main(Path.cwd())
