"""A run folder as a page: what stands in it, and that it needs nothing from elsewhere."""

import json
import re
import shutil
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from napari_blush.cli.main import main
from napari_blush.errors import RunFolderError
from napari_blush.io.mrc import write_map
from napari_blush.io.run_history import read_history
from napari_blush.validation.run_facts import read_run
from napari_blush.validation.run_methods import methods
from napari_blush.validation.run_report import run_page, write_run_page
from napari_blush.validation.slice_pictures import central_slices, gray_pictures, png

BOX, VOXEL = 16, 4.0
WEIGHTS = "blush (blush-3A 1, sha256 0123abcd)"
STAR = """
data_particles

loop_
_rlnAngleRot #1
_rlnAngleTilt #2
_rlnAnglePsi #3
"""


def line(iteration: int, resolution: float, **more: object) -> dict:
    falling = [max(0.0, 1 - shell / 8) for shell in range(BOX // 2 + 1)]
    curves = {"unmasked": falling, "masked": falling, "corrected": falling}
    return {
        "iteration": iteration,
        "resolution_angstrom": resolution,
        "cutoff_shell": 5,
        "regularizer": WEIGHTS,
        "current_size": 12,
        "healpix_order": 2,
        "adaptive_oversampling": 1,
        "accuracy_rotation_deg": 999.0 if iteration == 1 else 3.25,
        "average_p_max": 0.25,
        "voxel_size": VOXEL,
        "fsc": {**curves, "phase_randomized": [None, *falling[1:]], "randomized_from_shell": 4},
        "seconds": 30.0,
        **more,
    }


@pytest.fixture
def folder(tmp_path, generator) -> Path:
    """Write what the report reads of a run of two iterations that is over."""
    run = tmp_path / "my <run>"
    run.mkdir()
    settings = {"particle_diameter": 110.0, "symmetry": "C2", "trailing_shells": 3}
    content = {
        "settings": settings,
        "regularizer": WEIGHTS,
        "particles": {"count": 321, "digest": ""},
        "versions": {"napari-blush": "9.8.7", "torch": "2.0"},
    }
    (run / "settings.yaml").write_text(yaml.safe_dump(content))
    change = {"what": "tau2_fudge <4>", "time": "12:00", "values": {"tau2_fudge": 4.0}}
    lines = [line(1, 20.0), line(2, 9.14, changes=[change])]
    (run / "history.json").write_text("\n".join(map(json.dumps, lines)))
    for name in ("run_class001", "run_half1_class001_unfil", "run_half2_class001_unfil"):
        write_map(run / f"{name}.mrc", torch.randn(BOX, BOX, BOX, generator=generator), VOXEL)
    angles = torch.rand(50, 3, generator=generator) * 180
    rows = "\n".join(" ".join(f"{angle:.3f}" for angle in row) for row in angles.tolist())
    (run / "run_data.star").write_text(f"{STAR}{rows}\n")
    return run


def test_the_page_says_what_the_run_did(folder) -> None:
    text = run_page(folder)
    for said in (
        "9.14 Å",
        "321",
        "C2",
        WEIGHTS,
        "16 px of 4 Å",
        "1.0 min",
        "9.8.7",
        "trailing shells",
    ):
        assert said in text, said
    assert "Finished after 2 iterations" in text
    assert "tau2_fudge &lt;4&gt;" in text
    assert "1, later 4" in text
    assert text.count("<svg") == 5
    assert text.count('src="data:image/png') == 9
    assert len(re.findall("phases random", text)) == 1


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(folder) -> None:
    text = run_page(folder)
    ElementTree.fromstring(text.split("\n", 1)[1])
    assert "<script" not in text and "<link" not in text and "@import" not in text
    assert "my &lt;run&gt;" in text and "my <run>" not in text
    assert all(address.startswith("data:") for address in re.findall(r'src="([^"]*)', text))


def test_the_methods_follow_the_settings_and_cite(folder) -> None:
    paragraph, cited = methods(read_run(folder))
    for said in (
        "321 particle images (16 px of 4 Å)",
        "point group C2",
        "low-pass filtered to 60 Å",
        "from a step of 15° on",
        "cut off 3 shells short",
        WEIGHTS,
        "never denoised",
        "(iteration 2: tau2_fudge <4>)",
        "9.1 Å at an FSC of 0.143",
    ):
        assert said in paragraph, said
    numbers = {
        int(n) for group in re.findall(r"\[([\d, ]+)\]", paragraph) for n in group.split(", ")
    }
    assert numbers == set(range(1, len(cited) + 1))
    assert any("10.1038/s41592-024-02304-8" in work.address for work in cited)


def test_the_methods_say_from_where_on_maps_were_denoised(folder) -> None:
    assert "After each iteration that reached at least 15 Å both" in methods(read_run(folder))[0]
    lines = [line(number, 30.0, cutoff_shell=None) for number in (1, 2)]
    (folder / "history.json").write_text("\n".join(map(json.dumps, lines)))
    paragraph, _ = methods(read_run(folder))
    assert "never agreed to 15 Å" in paragraph
    assert "were denoised by a network" not in paragraph
    content = yaml.safe_load((folder / "settings.yaml").read_text())
    content["settings"]["denoise_from"] = None
    (folder / "settings.yaml").write_text(yaml.safe_dump(content))
    assert "After each iteration both half-maps were denoised" in methods(read_run(folder))[0]


def test_without_a_denoiser_none_is_spoken_of(folder) -> None:
    content = yaml.safe_load((folder / "settings.yaml").read_text())
    content["settings"].update(regularizer="smoothness", solvent_corrected_fsc=False)
    content["regularizer"] = "smoothness"
    (folder / "settings.yaml").write_text(yaml.safe_dump(content))
    paragraph, cited = methods(read_run(folder))
    assert "denois" not in paragraph and "phase random" not in paragraph
    assert not any("Kimanius" in work.text for work in cited)


def test_a_run_that_is_not_over_has_no_final_map(folder) -> None:
    for half in (1, 2):
        name = f"run_half{half}_class001_unfil.mrc"
        shutil.move(folder / name, folder / f"run_it002_half{half}_class001_unfil.mrc")
    (folder / "run_data.star").rename(folder / "run_it002_data.star")
    text = run_page(folder)
    assert "Not finished: 2 iterations" in text
    assert "final map</td>" not in text and text.count("data:image/png") == 6
    assert "resolution of the final map" not in text
    (folder / "failure.json").write_text('{"reason": "The disk is full."}')
    assert "Ended after iteration 2: The disk is full." in run_page(folder)


def test_the_command_line_writes_the_page(folder, tmp_path, capsys) -> None:
    page = tmp_path / "elsewhere" / "page.html"
    assert main(["report", str(folder)]) == 0
    assert main(["report", str(folder), "--output", str(page)]) == 0
    own = folder / "report.html"
    assert page.read_text() == own.read_text() == run_page(folder)
    assert capsys.readouterr().out == f"Wrote {own}\nWrote {page}\n"
    picture = tmp_path / "slices.png"
    assert main(["report", str(folder), "--output", str(picture)]) == 0
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width, height) == (3 * 256, 3 * 256)
    page.unlink()
    assert main(["report", str(tmp_path), "--output", str(page)]) == 1
    assert "wanted the folder of a run" in capsys.readouterr().err
    assert not page.exists()


def test_what_is_no_run_is_refused_in_words(folder, tmp_path) -> None:
    with pytest.raises(RunFolderError, match="wanted the folder of a run"):
        run_page(tmp_path)
    (folder / "history.json").unlink()
    assert read_history(folder) == []
    with pytest.raises(RunFolderError, match="no whole iteration"):
        write_run_page(folder, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_pictures_are_png_files_of_the_slices(generator) -> None:
    gray = torch.randint(0, 256, (5, 7), generator=generator).numpy().astype(np.uint8)
    content = png(gray)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        found[kind] = content[at + 8 : at + 8 + size]
        (check,) = struct.unpack(">I", content[at + 8 + size : at + 12 + size])
        assert check == zlib.crc32(kind + found[kind])
        at += 12 + size
    assert struct.unpack(">II5B", found[b"IHDR"]) == (7, 5, 8, 0, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(5, 8)
    assert np.array_equal(rows[:, 1:], gray)


def test_slices_go_through_the_middle_and_share_their_grays() -> None:
    volume = torch.zeros(8, 8, 8)
    volume[4, 2, 6] = 1.0
    across_z, across_y, across_x = central_slices(volume)
    assert across_z[2, 6] == 1.0
    assert across_y.max() == across_x.max() == 0.0
    addresses = gray_pictures([across_z, across_y])
    assert addresses[0] != addresses[1]
    assert b64decode(addresses[0].split(",", 1)[1])[:4] == b"\x89PNG"
    large = central_slices(torch.ones(300, 300, 300))
    assert large[0].shape == (150, 150)
