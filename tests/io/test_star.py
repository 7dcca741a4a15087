import subprocess
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import ImagesInMemory, Particles
from napari_blush.data_model.poses import Poses
from napari_blush.errors import BlushError, MrcFileError, StarFileError
from napari_blush.io.mrc import read_map, write_stack
from napari_blush.io.star import pose_columns, read_particles, write_particles
from napari_blush.io.star_table import read_star

OPTICS = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMtfFileName #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
_rlnImagePixelSize #7
_rlnImageSize #8
first  3 mtf.star 300.000000 2.700000 0.100000 1.250000 8
second 7 mtf.star 200.0 1.4 0.07 2.500000 4
"""
PARTICLES = """
# version 30001

data_particles

loop_
_rlnImageName #1
_rlnMicrographName #2
_rlnOpticsGroup #3
_rlnDefocusU #4
_rlnDefocusV #5
_rlnDefocusAngle #6
_rlnAngleRot #7
_rlnAngleTilt #8
_rlnAnglePsi #9
_rlnOriginXAngst #10
_rlnOriginYAngst #11
_rlnRandomSubset #12
_someUnknownColumn #13
000002@a.mrcs m2.mrc 3 10000.5 9000.25 45.125  10.0 20.0  30.0  1.5 -2.5 1 1.100
000001@b.mrcs m1.mrc 7 12000.0 12000.0 0.0    -10.0 90.0 170.0  0.0  0.0 2 1.1
1@a.mrcs      m2.mrc 3 10000.0 9000.0  45.0     0.0  0.0   0.0 -3.0  4.0 2 +1.10
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(1)
    write_stack(tmp_path / "a.mrcs", torch.randn(3, 8, 8, generator=generator), 1.25)
    write_stack(tmp_path / "b.mrcs", torch.randn(2, 4, 4, generator=generator), 2.5)
    (tmp_path / "p.star").write_text(OPTICS + PARTICLES)
    return tmp_path


def test_relion31_with_two_optics_groups(folder: Path) -> None:
    particles = read_particles(folder / "p.star")
    assert len(particles) == 3
    first, second = particles.optics_groups
    assert first == OpticsGroup("first", 300.0, 2.7, 0.1, 1.25, 8)
    assert second == OpticsGroup("second", 200.0, 1.4, 0.07, 2.5, 4)
    assert particles.optics_group_index.tolist() == [0, 1, 0]
    assert particles.defocus[0].tolist() == [10000.5, 9000.25, 45.125]
    assert particles.has_poses
    expected = Rotation.from_euler("ZYZ", [[10, 20, 30], [-10, 90, 170], [0, 0, 0]], degrees=True)
    np.testing.assert_allclose(particles.poses.rotations, expected.as_matrix(), atol=1e-12)
    assert particles.poses.shifts_angstrom.tolist() == [[1.5, -2.5], [0.0, 0.0], [-3.0, 4.0]]
    assert particles.random_subset.tolist() == [1, 2, 2]
    assert particles.group_names == ("m1.mrc", "m2.mrc")
    assert particles.group_index.tolist() == [1, 0, 1]
    # What the file does not have.
    assert particles.ctf_scale.tolist() == [1.0] * 3
    assert particles.norm_correction.tolist() == [1.0] * 3
    assert particles.phase_shift_deg.tolist() == [0.0] * 3
    assert particles.ctf_b_factor.tolist() == [0.0] * 3


def test_images_belong_to_their_rows(folder: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(3, 8, 8, generator=generator)
    b = torch.randn(2, 4, 4, generator=generator)
    images = read_particles(folder / "p.star").images
    assert torch.equal(images.read(torch.tensor([2, 0])), a[:2])
    assert torch.equal(images.read(torch.tensor([1])), b[:1])


def test_columns_survive_to_the_letter(folder: Path) -> None:
    particles = read_particles(folder / "p.star")
    write_particles(folder / "q.star", particles)
    before, after = read_star(folder / "p.star"), read_star(folder / "q.star")
    for name in ("optics", "particles"):
        kept = list(before[name].columns)
        assert list(after[name].columns)[: len(kept)] == kept
        for label in kept:
            assert after[name].columns[label].tolist() == before[name].columns[label].tolist()
    assert after["particles"].columns["someUnknownColumn"].tolist() == ["1.100", "1.1", "+1.10"]
    assert (folder / "q.star").read_text().startswith("\n# version 30001\n")


def test_updates_replace_in_place_and_append(folder: Path) -> None:
    particles = read_particles(folder / "p.star")
    updates = {"rlnAngleRot": np.array([1.0, 2.0, 3.0]), "rlnNew": np.array([4, 5, 6])}
    write_particles(folder / "q.star", particles, updates)
    columns = read_star(folder / "q.star")["particles"].columns
    assert list(columns) == [*particles.columns, "rlnNew"]
    assert columns["rlnAngleRot"].tolist() == ["1.000000", "2.000000", "3.000000"]
    assert columns["rlnNew"].tolist() == ["4", "5", "6"]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_poses_survive(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("poses")
    write_stack(folder / "a.mrcs", torch.ones(5, 4, 4), 1.0)
    rotations = torch.from_numpy(Rotation.random(5, random_state=seed).as_matrix())
    shifts = 10 * torch.randn(5, 2, generator=torch.Generator().manual_seed(seed)).double()
    before = particles_in_memory(5, Poses(rotations, shifts))
    write_particles(folder / "p.star", before, {"rlnImageName": names(5)})
    after = read_particles(folder / "p.star")
    torch.testing.assert_close(after.poses.rotations, rotations, atol=1e-7, rtol=0)
    torch.testing.assert_close(after.poses.shifts_angstrom, shifts, atol=1e-6, rtol=0)
    torch.testing.assert_close(after.defocus, before.defocus, atol=1e-6, rtol=0)
    assert after.optics_groups == before.optics_groups
    for name in ("optics_group_index", "random_subset", "group_index"):
        assert torch.equal(getattr(after, name), getattr(before, name))
    assert after.group_names == before.group_names


def names(n: int) -> np.ndarray:
    return np.array([f"{i + 1:06d}@a.mrcs" for i in range(n)], dtype=object)


def particles_in_memory(n: int, poses: Poses) -> Particles:
    return Particles(
        images=ImagesInMemory(torch.ones(n, 4, 4)),
        optics_groups=(
            OpticsGroup("o1", 300.0, 2.7, 0.1, 1.0, 4, (0.5, -0.25), (1.0, -0.125, 3e-9), ()),
            OpticsGroup(
                "o2", 200.0, 1.4, 0.07, 1.0, 4, even_zernike=(0.5,),
                magnification_matrix=((1.01, 0.0), (0.002, 0.99)), ctf_premultiplied=True,
            ),
        ),
        optics_group_index=torch.arange(n) % 2,
        defocus=1e4 + torch.arange(3 * n).reshape(n, 3).double() / 7,
        phase_shift_deg=torch.zeros(n).double(), ctf_b_factor=torch.zeros(n).double(),
        ctf_scale=torch.ones(n).double(), poses=poses, has_poses=True,
        random_subset=torch.arange(n) % 2 + 1, group_index=torch.arange(n) // 3,
        group_names=tuple(f"m{i}" for i in range(1 + (n - 1) // 3)),
        norm_correction=torch.ones(n).double(),
    )  # fmt: skip


def test_updates_are_checked(folder: Path) -> None:
    particles = read_particles(folder / "p.star")
    with pytest.raises(StarFileError, match=r"has shape .* 3 particles"):
        write_particles(folder / "q.star", particles, {"rlnNew": np.ones(2)})
    with pytest.raises(StarFileError, match="not finite"):
        write_particles(folder / "q.star", particles, {"rlnNew": np.array([1.0, np.nan, 2.0])})
    with pytest.raises(StarFileError, match="name of every image"):
        write_particles(folder / "q.star", particles_in_memory(3, Poses.identity(3)))
    assert not (folder / "q.star").exists()


def test_relion30_single_table(folder: Path) -> None:
    (folder / "old.star").write_text("""
data_

loop_
_rlnImageName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnMagnification #5
_rlnDetectorPixelSize #6
_rlnDefocusU #7
_rlnDefocusV #8
_rlnDefocusAngle #9
_rlnOriginX #10
_rlnOriginY #11
_rlnAngleRot #12
_rlnAngleTilt #13
_rlnAnglePsi #14
_rlnGroupNumber #15
_rlnAutopickFigureOfMerit #16
1@a.mrcs 300.0 2.7 0.1 40000.0 5.0 1e4 1e4 0 2.0 -1.0 0 0 0 12 0.50
2@a.mrcs 200.0 2.7 0.1 40000.0 5.0 1e4 1e4 0 0.0  0.5 0 0 0  3 0.25
3@a.mrcs 300.0 2.7 0.1 40000.0 5.0 1e4 1e4 0 0.0  0.0 0 0 0  3 0.125
""")
    particles = read_particles(folder / "old.star")
    assert [g.voltage_kv for g in particles.optics_groups] == [300.0, 200.0]
    assert particles.optics_groups[0].pixel_size == pytest.approx(1.25)  # 1e4 * 5 / 40000
    assert particles.optics_group_index.tolist() == [0, 1, 0]
    assert particles.poses.shifts_angstrom.tolist() == [[2.5, -1.25], [0.0, 0.625], [0.0, 0.0]]
    assert particles.group_names == ("group_3", "group_12")
    assert particles.group_index.tolist() == [1, 0, 0]
    write_particles(folder / "new.star", particles)
    again = read_particles(folder / "new.star")
    assert again.optics_groups == particles.optics_groups
    assert torch.equal(again.poses.shifts_angstrom, particles.poses.shifts_angstrom)
    columns = read_star(folder / "new.star")["particles"].columns
    assert columns["rlnAutopickFigureOfMerit"].tolist() == ["0.50", "0.25", "0.125"]
    assert not {"rlnOriginX", "rlnVoltage", "rlnMagnification"} & set(columns)


OLD_HEAD = "data_\nloop_\n_rlnImageName\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n"
OLD_ROW = "1@a.mrcs 1 1 0"


@pytest.mark.parametrize(
    ("labels", "row", "words"),
    [
        ("_rlnVoltage\n_rlnSphericalAberration\n", "300 2.7", "no column _rlnAmplitudeContrast"),
        ("_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n", "300 2.7 0.1",
         "no column _rlnImagePixelSize"),
        ("_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n_rlnPixelSize\n"
         "_rlnMagnification\n_rlnDetectorPixelSize\n", "300 2.7 0.1 1.0 10000 2.0",
         "pixel sizes of 1 and 2 A"),
        ("_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n_rlnMagnification\n"
         "_rlnDetectorPixelSize\n", "300 2.7 0.1 0 2.0", "Magnification of zero"),
        ("_rlnOpticsGroup\n", "1", "no table data_optics"),
    ],
)  # fmt: skip
def test_relion30_lacks(folder: Path, labels: str, row: str, words: str) -> None:
    (folder / "old.star").write_text(OLD_HEAD + labels + f"{OLD_ROW} {row}\n")
    with pytest.raises(StarFileError, match=words):
        read_particles(folder / "old.star")


def swap(*pairs: tuple[str, str]) -> Callable[[str], str]:
    def change(text: str) -> str:
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        return text

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap(("_rlnDefocusU", "_rlnDefocussU")), "no column _rlnDefocusU .*rename _rlnDefocussU"),
        (swap(("_rlnDefocusU", "_rlndefocusu")), "rename _rlndefocusu"),
        (swap(("_rlnDefocusU", "_rlnOther")), "no column _rlnDefocusU .*add the column"),
        (swap(("_rlnImageName", "_rlnImagName")), "no column _rlnImageName .*rename _rlnImagName"),
        (swap(("_rlnVoltage", "_rlnVoltag")), "no column _rlnVoltage in data_optics"),
        (swap(("_rlnImagePixelSize", "_rlnPixelSize")), "no column _rlnImagePixelSize"),
        (swap(("_rlnAngleTilt", "_rlnAngleTlt")), "no column _rlnAngleTilt .*rename _rlnAngleTlt"),
        (swap(("_rlnOriginYAngst", "_rlnOriginYAng")), "no column _rlnOriginYAngst"),
        (swap(("000002@a", "000004@a")), r"image 4 of .*a.mrcs for particle 1.* holds 3"),
        (swap(("000002@a", "0@a")), "'0@a.mrcs' in row 1; wanted a number from 1 on"),
        (swap(("000002@a", "x@a")), "wanted a number from 1 on"),
        (swap(("000002@a.mrcs", "3@")), "wanted a number from 1 on"),
        (swap(("b.mrcs", "c.mrcs")), "Stack c.mrcs, .* does not exist; tried the working"),
        (swap(("b.mrcs", "/none/c.mrcs")), "tried that absolute path"),
        (swap(("m1.mrc 7", "m1.mrc 5")), r"particle 2 into optics group 5, .*\(it has 3, 7\)"),
        (swap(("second 7", "second 3"), ("m1.mrc 7", "m1.mrc 3")), "an optics group twice"),
        (swap(("_someUnknownColumn", "_rlnAngleRot")), "_rlnAngleRot twice"),
        (swap(("10000.5", "nan")), "_rlnDefocusU = 'nan' in row 1"),
        (swap(("10000.5", "inf")), "wanted a finite number"),
        (swap(("10000.5", "abc")), "_rlnDefocusU = 'abc' in row 1"),
        (swap(("12000.0 0.0 ", "12000.0 <NA> ")), "_rlnDefocusAngle = '<NA>' in row 2"),
        (swap(("m1.mrc 7", "m1.mrc 7.5")), "_rlnOpticsGroup = '7.5' in row 2"),
        (swap(("-2.5 1 1.100", "-2.5 0 1.100")), "_rlnRandomSubset = 0 in row 1"),
        (swap(("-2.5 1 1.100", "-2.5 3 1.100")), "_rlnRandomSubset = 3 in row 1"),
        (swap(("1.250000 8", "1.250000 16")), "_rlnImageSize says 16 px, .* has 8 px"),
        (swap(("000001@b", "000001@a")), "_rlnImageSize says 4 px, .* has 8 px"),
        (swap(("1.250000 8", "-1.25 8")), "wanted both above zero"),
        (swap(("0.100000 1.25", "1.5 1.25")), "wanted a fraction between 0 and 1"),
        (swap(("MtfFileName", "BeamTiltX"), ("mtf.star", "0.1")), "no column _rlnBeamTiltY"),
        (swap(("MtfFileName", "OddZernike"), ("mtf.star", "[1,x]")), r"_rlnOddZernike = '\[1,x\]'"),
        (swap(("MtfFileName", "ImageDimensionality"), ("mtf.star", "3")), "3 dimensions"),
        (lambda text: text.split("000002@a")[0], "no particles in data_particles"),
        (lambda text: text.split("data_particles")[0], "wanted data_particles"),
        (lambda text: text.split("first  3")[0] + PARTICLES, "empty table data_optics"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_with_a_sentence(
    folder: Path, change: Callable[[str], str], words: str
) -> None:
    (folder / "bad.star").write_text(change(OPTICS + PARTICLES))
    with pytest.raises(StarFileError, match=words) as caught:
        read_particles(folder / "bad.star")
    assert str(caught.value).endswith(".")
    assert str(folder) in str(caught.value)


def test_bad_stacks_are_refused(folder: Path) -> None:
    raw = (folder / "a.mrcs").read_bytes()
    (folder / "a.mrcs").write_bytes(raw[:-4])
    with pytest.raises(MrcFileError, match="truncated"):
        read_particles(folder / "p.star")
    (folder / "a.mrcs").unlink()
    write_stack(folder / "a.mrcs", torch.ones(3, 7, 7), 1.0)
    text = (OPTICS + PARTICLES).replace("1.250000 8", "1.250000 7")
    (folder / "p.star").write_text(text)
    with pytest.raises(StarFileError, match="7 px; wanted an even"):
        read_particles(folder / "p.star")


def test_stack_of_oblong_images(folder: Path) -> None:
    with mrcfile.new(folder / "a.mrcs", overwrite=True) as handle:
        handle.set_data(np.ones((3, 8, 6), np.float32))
    with pytest.raises(StarFileError, match="6 x 8 px; wanted square"):
        read_particles(folder / "p.star")


def test_box_from_the_stack_when_the_table_is_silent(folder: Path) -> None:
    text = OPTICS.replace("_rlnImageSize #8\n", "").replace(" 8\n", "\n").replace(" 4\n", "\n")
    (folder / "p.star").write_text(text + PARTICLES)
    assert [g.box_size for g in read_particles(folder / "p.star").optics_groups] == [8, 4]
    (folder / "p.star").write_text(text + PARTICLES.replace("m1.mrc 7", "m1.mrc 3"))
    with pytest.raises(StarFileError, match="the group's first image says 8 px"):
        read_particles(folder / "p.star")


def test_random_subset_of_zeros_is_none(folder: Path) -> None:
    text = PARTICLES
    for row in ("-2.5 1 1.100", "0.0 2 1.1", "4.0 2 +1.10"):
        text = text.replace(row, row.replace(" 1 ", " 0 ", 1).replace(" 2 ", " 0 ", 1))
    (folder / "p.star").write_text(OPTICS + text)
    assert read_particles(folder / "p.star").random_subset.tolist() == [0, 0, 0]


def test_in_plane_angle_alone_is_no_pose(folder: Path) -> None:
    text = PARTICLES.replace("_rlnAngleRot", "_rlnA").replace("_rlnAngleTilt", "_rlnB")
    (folder / "p.star").write_text(OPTICS + text)
    particles = read_particles(folder / "p.star")
    assert not particles.has_poses
    assert torch.equal(particles.poses.rotations, Poses.identity(3).rotations)
    assert not particles.poses.shifts_angstrom.any()


def test_order_in_which_stacks_are_looked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = folder / "project"
    elsewhere = folder / "elsewhere"
    job = project / "Extract" / "job002"
    for place in (job, elsewhere):
        place.mkdir(parents=True)
    text = (
        (OPTICS + PARTICLES).replace("@a", "@Extract/job002/a").replace("@b", "@Extract/job002/b")
    )
    (job / "p.star").write_text(text)
    for stack in ("a.mrcs", "b.mrcs"):
        (folder / stack).rename(job / stack)
    monkeypatch.chdir(elsewhere)
    # Nothing below the working directory: the project folder above the STAR file.
    assert read_particles(job / "p.star").images.files[0] == job / "a.mrcs"
    # The working directory comes first, as in RELION.
    own = elsewhere / "Extract" / "job002"
    own.mkdir(parents=True)
    (own / "a.mrcs").write_bytes((job / "a.mrcs").read_bytes())
    files = read_particles(job / "p.star").images.files
    assert files == (own / "a.mrcs", job / "b.mrcs")
    # A given folder is the only one.
    assert read_particles(job / "p.star", image_root=project).images.files[0] == job / "a.mrcs"
    with pytest.raises(StarFileError, match=f"tried {elsewhere}; give the folder"):
        read_particles(job / "p.star", image_root=elsewhere)
    # Absolute names need none.
    (job / "p.star").write_text(text.replace("@Extract/job002", f"@{job}"))
    assert read_particles(job / "p.star", image_root=elsewhere).images.files[0] == job / "a.mrcs"


def test_optics_beyond_the_defaults(folder: Path) -> None:
    particles = particles_in_memory(4, Poses.identity(4))
    write_stack(folder / "a.mrcs", torch.ones(4, 4, 4), 1.0)
    write_particles(folder / "p.star", particles, {"rlnImageName": names(4)})
    first, second = read_particles(folder / "p.star").optics_groups
    assert first.beam_tilt_mrad == (0.5, -0.25)
    assert first.odd_zernike == (1.0, -0.125, 3e-9)
    assert first.even_zernike == ()
    assert second.magnification_matrix == ((1.01, 0.0), (0.002, 0.99))
    assert second.ctf_premultiplied and not first.ctf_premultiplied


def test_pose_columns_are_those_of_relion() -> None:
    angles = np.array([[10.0, 20.0, 30.0], [-100.0, 170.0, 5.0]])
    rotations = torch.from_numpy(Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix())
    columns = pose_columns(Poses(rotations, torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()))
    assert list(columns) == [
        "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst",
    ]  # fmt: skip
    np.testing.assert_allclose(np.stack([*columns.values()][:3], axis=1), angles, atol=1e-9)
    assert columns["rlnOriginYAngst"].tolist() == [2.0, 4.0]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "n", "n_groups", "pixel_size", "box"),
    [
        ("relion31.star", 5, 1, 2.806, 256),
        ("sample_particles_relion30.star", 17, 2, 5e4 / 37369.207031, 200),
        ("sample_particles_relion31.star", 17, 2, 1.4, 200),
    ],
)
def test_real_files_with_images(
    tmp_path: Path, data_dir: Path, name: str, n: int, n_groups: int, pixel_size: float, box: int
) -> None:
    particles = read_particles(data_dir / "reader_fixtures" / name)
    assert len(particles) == n
    assert len(particles.optics_groups) == n_groups
    assert particles.optics_groups[0].pixel_size == pytest.approx(pixel_size, abs=1e-6)
    assert particles.images.read(torch.arange(n)).shape == (n, box, box)
    table = starfile.read(data_dir / "reader_fixtures" / name, always_dict=True)
    table = table.get("particles", [*table.values()][-1])
    angles = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix()
    np.testing.assert_allclose(particles.poses.rotations, expected, atol=1e-9)
    if "rlnOriginX" in table:
        np.testing.assert_allclose(
            particles.poses.shifts_angstrom,
            table[["rlnOriginX", "rlnOriginY"]].to_numpy() * pixel_size, atol=1e-6,
        )  # fmt: skip
    write_particles(tmp_path / "out.star", particles)
    again = read_particles(tmp_path / "out.star", image_root=data_dir / "reader_fixtures")
    assert again.optics_groups == particles.optics_groups
    assert torch.equal(again.poses.rotations, particles.poses.rotations)
    assert torch.equal(again.defocus, particles.defocus)


@pytest.mark.real_data
def test_real_optics_tables(tmp_path: Path, data_dir: Path) -> None:
    for name, n_groups, box in [("relion31.6opticsgroups.star", 6, 196), ("relion5.star", 1, 448)]:
        blocks = read_star(data_dir / "reader_fixtures" / name)
        text = (data_dir / "reader_fixtures" / name).read_text()
        for image in blocks["particles"].columns["rlnImageName"]:
            text = text.replace(image, "1@any.mrcs")
        (tmp_path / name).write_text(text)
        write_stack(tmp_path / "any.mrcs", torch.ones(1, box, box), 1.0)
        particles = read_particles(tmp_path / name)
        assert len(particles.optics_groups) == n_groups
        group = particles.optics_groups[0]
        assert len(group.odd_zernike) == 6
        assert len(group.even_zernike) == 9
        assert group.magnification_matrix != ((1.0, 0.0), (0.0, 1.0))
        row = {label: column[0] for label, column in blocks["optics"].columns.items()}
        assert group.beam_tilt_mrad == (float(row["rlnBeamTiltX"]), float(row["rlnBeamTiltY"]))
        assert group.magnification_matrix[1][0] == float(row["rlnMagMat10"])


@pytest.mark.real_data
def test_real_files_without_their_images_or_optics(data_dir: Path) -> None:
    with pytest.raises(StarFileError, match="does not exist; tried"):
        read_particles(data_dir / "reader_fixtures" / "relion5.star")
    with pytest.raises(StarFileError, match="no column _rlnAmplitudeContrast"):
        read_particles(
            data_dir / "reader_fixtures" / "FinalRefinement-OriginalParticles-PfCRT.star"
        )


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_change_of_a_token_gives_anything_but_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    write_stack(folder / "a.mrcs", torch.ones(3, 8, 8), 1.25)
    write_stack(folder / "b.mrcs", torch.ones(2, 4, 4), 2.5)
    lines = (OPTICS + PARTICLES).splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    tokens = lines[at].split() or [""]
    which = data.draw(st.integers(0, len(tokens) - 1))
    tokens[which] = data.draw(
        st.sampled_from(["", "-1", "0", "nan", "1e400", "data_", "loop_", "_rlnX", "'", '"', "#"])
        | st.text(max_size=5)
    )
    lines[at] = " ".join(tokens)
    (folder / "p.star").write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    try:
        read_particles(folder / "p.star")
    except BlushError as error:
        assert str(error).endswith(".")


@pytest.mark.relion
def test_relion_reconstructs_the_same_map_from_what_we_write(folder: Path) -> None:
    generator = torch.Generator().manual_seed(4)
    n = 12
    write_stack(folder / "a.mrcs", torch.randn(n, 16, 16, generator=generator), 2.0)
    angles = 180 * torch.rand(n, 3, generator=generator)
    rows = "".join(
        f"{i + 1}@a.mrcs 1 {9000 + 99 * i} 9000 20 {a[0]:.4f} {a[1]:.4f} {a[2]:.4f} {i / 3:.2f} 1\n"
        for i, a in enumerate(angles.tolist())
    )
    labels = (
        "ImageName OpticsGroup DefocusU DefocusV DefocusAngle AngleRot AngleTilt AnglePsi "
        "OriginXAngst OriginYAngst"
    )
    optics = OPTICS.split("first")[0] + "first 1 mtf.star 300 2.7 0.1 2.0 16\n"
    table = "\ndata_particles\n\nloop_\n" + "".join(f"_rln{x}\n" for x in labels.split())
    (folder / "theirs.star").write_text(optics + table + rows)
    particles = read_particles(folder / "theirs.star")
    # Through matrices and back, so that the signs of angles and shifts are at stake.
    write_particles(folder / "ours.star", particles, pose_columns(particles.poses))
    maps = []
    for name in ("theirs", "ours"):
        subprocess.run(
            ["relion_reconstruct", "--i", f"{name}.star", "--o", f"{name}.mrc", "--ctf"],
            cwd=folder, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        maps.append(read_map(folder / f"{name}.mrc").volume)
    assert maps[0].std() > 0
    torch.testing.assert_close(maps[0], maps[1], atol=1e-5 * float(maps[0].std()), rtol=0)
