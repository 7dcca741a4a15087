"""Peak memory of a refinement of 100,000 particles of 256 px, measured and predicted.

The images are noise in float16. Stack "rows": a STAR file of 100,000 rows that name 200 images over
and over. Stack "sparse": a file of 13 GB of which only the images that a start reads are written
(300 MB where the file system has sparse files). Each start is stopped when both halves have
compared their first batches, at three resolutions of the start map. At last a few particles go
through a whole iteration to Nyquist, its reconstruction included, for that is where the peak of a
run lies. The formula is that of docs/memory.md. Fails when a peak is above 6 GB.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring.tables import Row, markdown, write_table

LIMIT_MB = 6000.0
PIXEL_SIZE = 1.0
PARTICLE_BYTES = 1000
FINE_ORIENTATIONS = 36864  # of the 7.5 degree grid, whose slices are kept when they fit
TABLE_LIMIT = 2e9
WRITTEN_AT_START = 2600  # images that a start of a sparse stack can read, halves being random
_CHILD = Path(__file__).parent / "measuring" / "memory_child.py"
_HEADER_BYTES = 1024


@dataclass(frozen=True)
class Start:
    """A refinement to start.

    ``kind`` of stack; ``low_pass`` of the start map (None: to Nyquist from the first iteration);
    ``batches`` after which to stop (0: after an iteration).
    """

    name: str
    kind: str
    n_particles: int
    low_pass: float | None
    batches: int


def main() -> None:
    """Measure what the command line asks for and print the table."""
    options = parse()
    n = options.particles
    starts = [
        Start("first batches, start map at 40 A", "rows", n, 40.0, options.batches),
        Start("first batches, start map at 6 A", "rows", n, 6.0, options.batches),
        Start("first batches, to Nyquist", "rows", n, None, options.batches),
        Start("whole iteration to Nyquist", "rows", 64, None, 0),
    ]
    if not options.no_sparse:
        starts.append(Start("first batches, start map at 40 A", "sparse", n, 40.0, options.batches))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="memory_", dir=options.folder) as temporary:
        for start in starts:
            if start.kind == "sparse" and not has_sparse_files(Path(temporary)):
                print("The sparse stack is left out: this file system has no sparse files.")
                continue
            rows.append(measured(start, Path(temporary), options))
            print(markdown(rows[-1:]), flush=True)
    text = markdown(rows)
    print(f"\n{text}")
    for path in options.output:
        write_table(path, rows, text)
    worst = max(float(str(row["peak MB"])) for row in rows)
    if worst > LIMIT_MB:
        raise SystemExit(f"The peak of {worst:.0f} MB is above the limit of {LIMIT_MB:.0f} MB.")


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=100_000)
    parser.add_argument("--box", type=int, default=256)
    parser.add_argument("--batches", type=int, default=1, help="of each half, then stop")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-limit", type=float, help="the run's own limit in GB")
    parser.add_argument("--no-sparse", action="store_true", help="leave out the 13 GB stack")
    parser.add_argument("--folder", type=Path, help="where to make the files; default: temporary")
    parser.add_argument(
        "--output", type=Path, nargs="+", default=[], help="files to write: .md or .tsv"
    )
    return parser.parse_args()


def measured(start: Start, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Start a refinement in a process of its own; return its row."""
    make_files(start, folder, options.box)
    settings = {
        "particle_diameter": 0.75 * options.box * PIXEL_SIZE,
        "initial_low_pass": start.low_pass,
        "threads": options.threads,
        "device": "cpu",
    }
    if options.memory_limit:
        settings["memory_limit"] = options.memory_limit
    job = {
        "particles": str(folder / "particles.star"),
        "reference": str(folder / "reference.mrc"),
        "settings": settings,
        "stop_after_batches": start.batches,
    }
    (folder / "job.json").write_text(json.dumps(job))
    told = subprocess.run(
        [sys.executable, str(_CHILD), str(folder / "job.json")],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if told.returncode != 0:
        raise SystemExit(f"{start.name}: the refinement ended with {told.returncode}.")
    found = json.loads(told.stdout.splitlines()[-1])
    points = found["points"]
    base = points["libraries"]["VmHWM"]
    return {
        "what": start.name,
        "stack": start.kind,
        "particles": start.n_particles,
        "current size": found["current_size"],
        "libraries MB": base,
        "particles read MB": points["particles read"]["VmHWM"],
        "run started MB": points["run started"]["VmHWM"],
        "peak MB": found["peak"],
        "predicted MB": predicted(start, found["current_size"], base, options),
        "mapped files MB": max(each["RssFile"] for each in points.values()),
    }


def predicted(start: Start, current_size: int, base: float, options: argparse.Namespace) -> float:
    """Return the peak in MB by the formula of docs/memory.md."""
    streams, pad, n = min(2, options.threads), 2, options.box
    cube = 4.0 * n**3
    r_signal = n * PIXEL_SIZE / start.low_pass if start.low_pass else n / 2
    sums = 12.0 * padded_voxels(pad * current_size // 2 + 1)
    reference = 8.0 * padded_voxels(pad * round(r_signal) + 1)
    images = 32 * (48 * n**2 + 8 * (math.pi / 2) * (current_size / 2) ** 2 * 60)
    tables = 12 * (math.pi / 2) * r_signal**2 * FINE_ORIENTATIONS
    tables = tables if tables < TABLE_LIMIT and start.n_particles > 1000 else 0.0
    transforming = streams * 10 * cube
    comparing = streams * (sums + reference + images + tables)
    solving = 44 * padded_voxels(pad * current_size // 2 + 1) + 2 * sums + 4 * cube
    most = max(transforming, comparing, 0.0 if start.batches else solving)
    touched = 200 if start.kind == "rows" else 2100 + 64 * start.batches
    always = PARTICLE_BYTES * start.n_particles + 4 * cube + 2 * n**2 * touched
    return base + (always + most) / 1e6


def padded_voxels(c: int) -> float:
    """Return the voxels of a cropped half transform that reaches ``c``."""
    return float((2 * c + 1) ** 2 * (c + 1))


def make_files(start: Start, folder: Path, box: int) -> None:
    """Write stack, STAR file and start map of a refinement."""
    generator = np.random.default_rng(0)
    stack = folder / f"{start.kind}.mrcs"
    if start.kind == "rows":
        images = generator.standard_normal((200, box, box), dtype=np.float32).astype(np.float16)
        with stack.open("wb") as file:
            file.write(header((box, box, 200), 12))
            file.write(images.tobytes())
    else:
        write_sparse(stack, start.n_particles, box, generator)
    write_star(folder / "particles.star", start, stack.name, box)
    write_reference(folder / "reference.mrc", box, generator)


def write_sparse(stack: Path, n: int, box: int, generator: np.random.Generator) -> None:
    """Write a stack whose images are holes but for those that a start reads."""
    size = 2 * box * box
    wanted = {round(i) for i in np.linspace(0, n - 1, min(100, n))}
    wanted |= {int(i) for i in np.linspace(0, n - 1, min(100, n))}
    wanted |= set(range(min(WRITTEN_AT_START, n)))
    with stack.open("wb") as file:
        file.write(header((box, box, n), 12))
        file.truncate(_HEADER_BYTES + n * size)
        for index in sorted(wanted):
            file.seek(_HEADER_BYTES + index * size)
            image = generator.standard_normal((box, box), dtype=np.float32)
            file.write(image.astype(np.float16).tobytes())


def write_star(path: Path, start: Start, stack: str, box: int) -> None:
    """Write particles of ten micrographs."""
    names = (
        range(1, start.n_particles + 1)
        if start.kind == "sparse"
        else (1 + i % 200 for i in range(start.n_particles))
    )
    with path.open("w") as file:
        file.write(
            "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n"
            "_rlnVoltage #3\n_rlnSphericalAberration #4\n_rlnAmplitudeContrast #5\n"
            "_rlnImagePixelSize #6\n_rlnImageSize #7\n_rlnImageDimensionality #8\n"
            f"opticsGroup1 1 300.0 2.7 0.1 {PIXEL_SIZE} {box} 2\n\n\n"
            "# version 30001\n\ndata_particles\n\nloop_\n_rlnImageName #1\n_rlnMicrographName #2\n"
            "_rlnDefocusU #3\n_rlnDefocusV #4\n_rlnDefocusAngle #5\n_rlnOpticsGroup #6\n"
        )
        for row, name in enumerate(names):
            file.write(
                f"{name:06d}@{stack} mic{row % 10:02d}.mrc {10000 + row % 5000}.0 "
                f"{10100 + row % 5000}.0 30.0 1\n"
            )


def write_reference(path: Path, box: int, generator: np.random.Generator) -> None:
    """Write a map of blobs with detail to Nyquist."""
    axis = np.arange(box) - box // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    volume = generator.standard_normal((box, box, box), dtype=np.float32)
    volume = (volume * (radius < 0.3 * box)).astype(np.float32)
    with path.open("wb") as file:
        file.write(header((box, box, box), 2))
        file.write(volume.tobytes())


def header(size: tuple[int, int, int], mode: int) -> bytes:
    """Return an MRC header."""
    fields = np.zeros(256, dtype="<i4")
    fields[0:3], fields[3], fields[7:10] = size, mode, size
    fields[10:13] = np.array([PIXEL_SIZE * n for n in size], dtype="<f4").view("<i4")
    fields[13:16] = np.array([90.0] * 3, dtype="<f4").view("<i4")
    fields[16:19] = (1, 2, 3)
    fields[22] = 1 if mode == 2 else 0
    fields[27] = 20140
    raw = bytearray(fields.tobytes())
    raw[208:212], raw[212:216] = b"MAP ", bytes((0x44, 0x44, 0, 0))
    return bytes(raw)


def has_sparse_files(folder: Path) -> bool:
    """Return whether a hole takes no room on this file system."""
    probe = folder / "probe"
    with probe.open("wb") as file:
        file.truncate(2**24)
    taken = os.stat(probe).st_blocks * 512
    probe.unlink()
    return taken < 2**20


if __name__ == "__main__":
    main()
