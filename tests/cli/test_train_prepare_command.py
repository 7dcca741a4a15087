"""``train prepare``: half-maps by many names become a training folder; unfit ones are named."""

import csv
import gzip
from pathlib import Path

import pytest
import torch
from torch import Tensor

from napari_blush.cli import train_prepare
from napari_blush.cli.half_map_search import find_pairs
from napari_blush.cli.main import main
from napari_blush.cli.training_folder import TrainingFolders
from napari_blush.denoiser.training.pairs import read_pairs
from napari_blush.denoiser.training.preparation import split_of
from napari_blush.io.mrc import read_map, write_map
from napari_blush.numerics.filters import low_pass
from napari_blush.numerics.masks import soft_sphere
from napari_blush.numerics.resample import match_box

N, VOXEL = 32, 4.0


def toy_halves(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    texture = low_pass(torch.randn(N, N, N, generator=generator), VOXEL, 12.0)
    # As dense as a protein is in low-passed maps, and structured within.
    particle = soft_sphere(N, 7, 2) * (1 + texture / texture.std() / 2)
    first, second = (
        500 * (particle + 0.2 * torch.randn(N, N, N, generator=generator)) for _ in range(2)
    )
    return first, second


def pack(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    path.unlink()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder of four pairs under the names of the EMDB, RELION and others."""
    folder = tmp_path / "source"
    emdb = folder / "EMD-1234"
    emdb.mkdir(parents=True)
    for number, half in enumerate(toy_halves(1), start=1):
        path = emdb / f"emd_1234_half_map_{number}.map"
        write_map(path, half, VOXEL)
        pack(path)
    write_map(emdb / "emd_1234_msk_1.map", soft_sphere(N, 9, 3), VOXEL)
    (folder / "Refine3D").mkdir()
    for number, half in enumerate(toy_halves(2), start=1):
        write_map(folder / "Refine3D" / f"run_half{number}_class001_unfil.mrc", half, VOXEL)
    (folder / "plain").mkdir()
    for number, half in enumerate(toy_halves(3), start=1):
        write_map(folder / "plain" / f"half{number}.mrc", half, VOXEL)
    return folder


def prepare(source: Path, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    output = source.parent / "prepared"
    code = main(
        ["train", "prepare", str(source), "--output", str(output), "--voxel-size", "5", *options]
    )
    path = output / "pairs.tsv"
    if not path.exists():
        return code, {}
    with path.open(newline="") as handle:
        return code, {row["entry"]: row for row in csv.DictReader(handle, delimiter="\t")}


def test_pairs_are_found_by_their_names(source: Path) -> None:
    found = {pair.name: pair for pair in find_pairs([source])}
    assert set(found) == {"emd_1234", "Refine3D_run_class001_unfil", "plain"}
    assert all(pair.half1 and pair.half2 for pair in found.values())
    assert found["emd_1234"].mask == source / "EMD-1234" / "emd_1234_msk_1.map"
    assert found["plain"].mask is None


def test_entries_of_one_folder_keep_apart(tmp_path: Path) -> None:
    for entry in (1234, 567):
        for number, half in enumerate(toy_halves(entry), start=1):
            write_map(tmp_path / f"emd_{entry}_half_map_{number}.map", half, VOXEL)
        write_map(tmp_path / f"emd_{entry}_msk_1.map", soft_sphere(N, 9, 3), VOXEL)
    found = {pair.name: pair for pair in find_pairs([tmp_path])}
    assert set(found) == {"emd_1234", "emd_567"}
    for name, pair in found.items():
        assert pair.mask is not None
        assert pair.mask.name == f"{name}_msk_1.map"


def test_a_folder_to_train_on_comes_out(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, rows = prepare(source, "--validation-share", "0", "--test-share", "0")
    assert code == 0
    assert "Kept 3 of 3 pairs" in capsys.readouterr().out
    assert {row["kept"] for row in rows.values()} == {"yes"}
    for row in rows.values():
        assert float(row["voxel_size"]) == 5
        assert int(row["box_size"]) == 26
        assert 10 <= float(row["resolution_angstrom"]) < 30
    folder = source.parent / "prepared"
    maps = [read_map(folder / "plain" / f"{name}.mrc") for name in ("half1", "half2", "mask")]
    assert {file.voxel_size for file in maps} == {5.0}
    expected = match_box(toy_halves(3)[0], VOXEL, 5.0, 26)
    ratio = float((maps[0].volume * expected).sum() / expected.square().sum())
    assert torch.allclose(maps[0].volume, ratio * expected, atol=0.01)
    mask = maps[2].volume
    assert float(mask[soft_sphere(26, 5, 0) > 0].min()) > 0.9
    assert float(mask[soft_sphere(26, 11, 0) == 0].max()) < 0.1
    given = match_box(soft_sphere(N, 9, 3), VOXEL, 5.0, 26).clamp(0, 1)
    assert torch.allclose(read_map(folder / "emd_1234" / "mask.mrc").volume, given, atol=1e-3)
    assert len(list(read_pairs(TrainingFolders([folder]), "train"))) == 3


def test_unfit_pairs_are_dropped_and_named(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half1, half2 = toy_halves(5)
    unfit = {
        "lone": ((half1, None), VOXEL, "lone half"),
        "same": ((half1, half1), VOXEL, "identical"),
        "scaled": ((half1, 3 * half1 + 1), VOXEL, "the same but for their scale"),
        "sizes": ((half1, half2[:30, :30, :30]), VOXEL, "32 x 32 x 32 and 30 x 30 x 30"),
        "coarse": ((half1, half2), 6.0, "voxels of 6 A"),
        "masked": (
            (half1 * soft_sphere(N, 9, 2), half2 * soft_sphere(N, 9, 2)),
            VOXEL,
            "no noise in its solvent",
        ),
        "flat": ((half1, 0 * half2), VOXEL, "constant"),
    }
    for name, (halves, voxel_size, _) in unfit.items():
        (source / name).mkdir()
        for number, half in enumerate(halves, start=1):
            if half is not None:
                write_map(source / name / f"half{number}.mrc", half, voxel_size)
    cut = source / "cut"
    cut.mkdir()
    for number, half in enumerate((half1, half2), start=1):
        write_map(cut / f"half{number}.mrc", half, VOXEL)
    (cut / "half2.mrc").write_bytes((cut / "half2.mrc").read_bytes()[:-999])
    torn = source / "torn"
    torn.mkdir()
    write_map(torn / "half1.mrc", half1, VOXEL)
    (torn / "half2.mrc.gz").write_bytes(gzip.compress(b"x" * 5000)[:-9])
    code, rows = prepare(source)
    assert code == 0
    said = capsys.readouterr().out
    for name, (_, _, words) in unfit.items():
        assert words in rows[name]["kept"], name
        assert f"Dropped {name}: " in said
        assert not (source.parent / "prepared" / name).exists()
    assert "cut" in rows["cut"]["kept"]
    assert "unpacked" in rows["torn"]["kept"]
    assert rows["plain"]["kept"] == "yes"


def test_a_resolution_can_be_asked_for(source: Path) -> None:
    code, rows = prepare(source, "--worst-resolution", "10.2")
    assert code == 1
    assert all("wanted 10.2 A or better" in row["kept"] for row in rows.values())


def test_clusters_are_not_split(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = source.parent / "clusters.tsv"
    table.write_text("emd_1234\tA\nplain\tA\n")
    options = ("--clusters", str(table), "--validation-share", "0.9", "--test-share", "0.05")
    _, rows = prepare(source, *options)
    assert {row["split"] for row in rows.values()} == {"train"}
    assert "Too few pairs to hold some out" in capsys.readouterr().out
    monkeypatch.setattr(train_prepare, "_CLUSTERS_TO_SPLIT", 2)
    _, rows = prepare(source, *options)
    assert rows["plain"]["cluster"] == rows["emd_1234"]["cluster"] == "A"
    for row in rows.values():
        assert row["split"] == split_of(row["cluster"], 0.9, 0.05, 0)
    assert "validation" in {row["split"] for row in rows.values()}


def test_splits_have_their_shares_and_do_not_depend_on_others() -> None:
    splits = [split_of(f"cluster{i}", 0.2, 0.1, 3) for i in range(2000)]
    assert splits.count("validation") == pytest.approx(400, abs=60)
    assert splits.count("test") == pytest.approx(200, abs=45)
    assert splits[7] == split_of("cluster7", 0.2, 0.1, 3)
    assert splits != [split_of(f"cluster{i}", 0.2, 0.1, 4) for i in range(2000)]


def test_a_folder_without_half_maps_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "prepare", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "No half-maps were found" in said
    assert len(said.splitlines()) == 1
