from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_blush.errors import MrcFileError, StarFileError
from napari_blush.io.cryosparc import read_cryosparc
from napari_blush.io.mrc import write_stack
from napari_blush.io.star import read_particles, write_particles

N = 4
FIELDS: dict[str, np.ndarray] = {
    "uid": np.array([11, 5, 7, 3], dtype="<u8"),
    "blob/path": np.array([b">J1/a.mrcs", b"J1/b.mrcs", b">J1/a.mrcs", b"J1/a.mrcs"]),
    "blob/idx": np.array([2, 0, 0, 1], dtype="<u4"),
    "blob/shape": np.full((N, 2), 6, dtype="<u4"),
    "blob/psize_A": np.full(N, 1.5, dtype="<f4"),
    "blob/sign": np.array([-1, 1, -1, -1], dtype="<f4"),
    "ctf/exp_group_id": np.array([0, 4, 0, 0], dtype="<u4"),
    "ctf/accel_kv": np.full(N, 300, dtype="<f4"),
    "ctf/cs_mm": np.full(N, 2.7, dtype="<f4"),
    "ctf/amp_contrast": np.full(N, 0.1, dtype="<f4"),
    "ctf/df1_A": np.array([10000, 11000, 12000, 13000], dtype="<f4"),
    "ctf/df2_A": np.array([9000, 10000, 11000, 12000], dtype="<f4"),
    "ctf/df_angle_rad": np.array([0, np.pi / 4, -np.pi / 3, 1], dtype="<f4"),
    "ctf/phase_shift_rad": np.full(N, np.pi / 2, dtype="<f4"),
    "ctf/tilt_A": np.zeros((N, 2), dtype="<f4"),
    "alignments3D/split": np.array([0, 1, 1, 0], dtype="<u4"),
    "alignments3D/shift": np.array([[1, -2], [0, 0], [0.5, 0], [0, 3]], dtype="<f4"),
    "alignments3D/psize_A": np.full(N, 3.0, dtype="<f4"),
    "alignments3D/pose": np.array(
        [[0.1, 0.2, 0.3], [0, 0, 0], [2.0, -1.5, 1.0], [0, 0, -1]], dtype="<f4"
    ),
}


def save(path: Path, fields: dict[str, np.ndarray]) -> Path:
    kinds = [(name, values.dtype, values.shape[1:]) for name, values in fields.items()]
    table = np.empty(len(fields["uid"]), dtype=kinds)
    for name, values in fields.items():
        table[name] = values
    with path.open("wb") as handle:
        np.save(handle, table)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "J1").mkdir()
    (tmp_path / "J2").mkdir()
    write_stack(tmp_path / "J1" / "a.mrcs", torch.arange(108.0).reshape(3, 6, 6), 1.5)
    write_stack(tmp_path / "J1" / "b.mrcs", torch.ones(1, 6, 6), 1.5)
    return tmp_path


def test_all_fields_arrive_in_their_units(folder: Path) -> None:
    particles = read_cryosparc(save(folder / "J2" / "p.cs", FIELDS))
    assert [group.pixel_size for group in particles.optics_groups] == [1.5, 1.5]
    assert particles.optics_groups[0].amplitude_contrast == 0.1
    assert particles.optics_groups[0].box_size == 6
    assert particles.optics_group_index.tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(particles.defocus[1], [11000, 10000, 45], atol=1e-4)
    np.testing.assert_allclose(particles.phase_shift_deg, np.full(N, 90), atol=1e-4)
    # In pixels of the alignment, which may be coarser than the images.
    np.testing.assert_allclose(particles.poses.shifts_angstrom[0], [3.0, -6.0], atol=1e-6)
    assert particles.random_subset.tolist() == [1, 2, 2, 1]
    assert particles.group_names == ("J1/a.mrcs", "J1/b.mrcs")
    assert particles.columns["rlnImageName"].tolist()[0] == "000003@J1/a.mrcs"
    assert particles.columns["ucsfUid"].tolist() == ["11", "5", "7", "3"]


def test_pose_is_the_right_handed_rotation_of_its_vector(folder: Path) -> None:
    particles = read_cryosparc(save(folder / "J2" / "p.cs", FIELDS))
    assert particles.has_poses
    expected = Rotation.from_rotvec(FIELDS["alignments3D/pose"]).as_matrix()
    np.testing.assert_allclose(particles.poses.rotations, expected, atol=1e-6)
    # Written out for a turn of one radian about -z: x goes to (cos 1, -sin 1, 0).
    np.testing.assert_allclose(
        particles.poses.rotations[3][:, 0], [np.cos(1), -np.sin(1), 0], atol=1e-6
    )


def test_images_come_with_protein_white(folder: Path) -> None:
    images = read_cryosparc(save(folder / "J2" / "p.cs", FIELDS)).images
    stack = torch.arange(108.0).reshape(3, 6, 6)
    assert torch.equal(images.read(torch.tensor([0, 1, 3])), torch.stack(
        [-stack[2], torch.ones(6, 6), -stack[1]]
    ))  # fmt: skip
    without = {name: values for name, values in FIELDS.items() if name != "blob/sign"}
    images = read_cryosparc(save(folder / "J2" / "p.cs", without)).images
    assert torch.equal(images.read(torch.tensor([0]))[0], stack[2])


def test_passthrough_is_joined_by_uid(folder: Path) -> None:
    own = {name: FIELDS[name] for name in FIELDS if name in ("uid", "alignments3D/pose")}
    order = [3, 1, 0, 2]
    rest = {name: values[order] for name, values in FIELDS.items() if name != "alignments3D/pose"}
    rest["ctf/df1_A"] = rest["ctf/df1_A"].astype("<f8")
    a, b = save(folder / "J2" / "own.cs", own), save(folder / "J2" / "rest.cs", rest)
    whole = read_cryosparc(save(folder / "J2" / "p.cs", FIELDS))
    for passthrough in (b, str(b), [b]):
        joined = read_cryosparc(a, passthrough)
        assert torch.equal(joined.defocus, whole.defocus)
        assert torch.equal(joined.poses.rotations, whole.poses.rotations)
        assert torch.equal(joined.images.read(torch.arange(4)), whole.images.read(torch.arange(4)))
    with pytest.raises(StarFileError, match=r"no field blob/path; .*give the passthrough"):
        read_cryosparc(a)
    short = save(folder / "J2" / "short.cs", {name: values[1:] for name, values in rest.items()})
    with pytest.raises(StarFileError, match="lacks 1 of the 4 particles"):
        read_cryosparc(a, short)


def test_star_file_of_cryosparc_particles(folder: Path) -> None:
    particles = read_cryosparc(save(folder / "J2" / "p.cs", FIELDS))
    write_particles(folder / "p.star", particles)
    again = read_particles(folder / "p.star")
    assert torch.equal(again.poses.rotations, particles.poses.rotations)
    assert torch.equal(again.defocus, particles.defocus)
    assert again.optics_groups == particles.optics_groups
    assert again.group_names == particles.group_names


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ctf/tilt_A": np.full((N, 2), 0.1)}, "ctf/tilt_A that are not zero"),
        ({"alignments3D/split": np.array([0, 1, 2, 1])}, "split of 2"),
        ({"blob/sign": np.zeros(N)}, "blob/sign other than"),
        ({"blob/idx": np.array([3, 0, 0, 1])}, "image 4 of .* holds 3"),
        ({"blob/path": np.array([b"J1/c.mrcs"] * N)}, "does not exist"),
        ({"blob/shape": np.full((N, 2), 8)}, "says 8 px"),
        ({"ctf/df1_A": np.array([1.0, np.nan, 1, 1])}, "_rlnDefocusU = 'nan' in row 2"),
        ({"alignments3D/pose": np.full((N, 3), np.nan)}, "_rlnAngleRot = 'nan'"),
        ({"ctf/accel_kv": np.zeros(N)}, "both above zero"),
    ],
)
def test_bad_tables_are_refused(folder: Path, changes: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(StarFileError, match=words):
        read_cryosparc(save(folder / "J2" / "p.cs", FIELDS | changes))


def test_bad_files_are_refused(folder: Path) -> None:
    with pytest.raises(StarFileError, match="does not exist"):
        read_cryosparc(folder / "none.cs")
    (folder / "text.cs").write_text("hello")
    with pytest.raises(StarFileError, match="not a plain CryoSPARC table"):
        read_cryosparc(folder / "text.cs")
    (folder / "empty.cs").write_text("")
    with pytest.raises(StarFileError, match="not a plain CryoSPARC table"):
        read_cryosparc(folder / "empty.cs")
    with (folder / "pickled.cs").open("wb") as handle:
        np.save(handle, np.array([{"uid": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StarFileError, match="not a plain CryoSPARC table"):
        read_cryosparc(folder / "pickled.cs")
    with (folder / "plain.cs").open("wb") as handle:
        np.save(handle, np.arange(3))
    with pytest.raises(StarFileError, match="no table of particles"):
        read_cryosparc(folder / "plain.cs")
    path = save(folder / "J2" / "p.cs", FIELDS)
    (folder / "J1" / "b.mrcs").write_bytes(b"x")
    with pytest.raises(MrcFileError, match="truncated"):
        read_cryosparc(path)


def test_aberrations_can_be_ignored_expressly(folder: Path) -> None:
    path = save(folder / "J2" / "p.cs", FIELDS | {"ctf/tilt_A": np.ones((N, 2))})
    assert len(read_cryosparc(path, ignore_aberrations=True)) == N


def test_one_half_only_is_no_split(folder: Path) -> None:
    path = save(folder / "J2" / "p.cs", FIELDS | {"alignments3D/split": np.ones(N, int)})
    assert not read_cryosparc(path).random_subset.any()


def test_without_alignment(folder: Path) -> None:
    fields = {name: values for name, values in FIELDS.items() if "alignments" not in name}
    fields["location/micrograph_path"] = np.array([b">m1", b"m2", b"m1", b"m1"])
    particles = read_cryosparc(save(folder / "J2" / "p.cs", fields))
    assert not particles.has_poses
    assert particles.group_names == ("m1", "m2")


@pytest.mark.real_data
def test_real_table(tmp_path: Path, data_dir: Path) -> None:
    path = data_dir / "reader_fixtures" / "cryosparc_P12_J24_001_particles.cs"
    with pytest.raises(StarFileError, match="does not exist; tried"):
        read_cryosparc(path)
    table = np.load(path)
    n = len(table)
    assert n == 2019
    # The stacks are not here: the same rows with a small stack of their own.
    table["blob/path"], table["blob/shape"], table["blob/idx"] = b"s.mrcs", 4, np.arange(n)
    with (tmp_path / "p.cs").open("wb") as handle:
        np.save(handle, table)
    write_stack(tmp_path / "s.mrcs", torch.ones(n, 4, 4), 2.95)
    particles = read_cryosparc(tmp_path / "p.cs")
    assert len(particles) == n
    (group,) = particles.optics_groups
    assert (group.voltage_kv, group.spherical_aberration_mm) == (200.0, 2.0)
    assert (group.amplitude_contrast, group.pixel_size) == (0.07, 2.95)
    expected = Rotation.from_rotvec(table["alignments3D/pose"].astype(float)).as_matrix()
    np.testing.assert_allclose(particles.poses.rotations, expected, atol=1e-6)
    np.testing.assert_allclose(
        particles.poses.shifts_angstrom, table["alignments3D/shift"] * 2.95, atol=1e-5
    )
    np.testing.assert_allclose(particles.defocus[:, 0], table["ctf/df1_A"], atol=1e-2)
    assert (particles.images.read(torch.arange(3)) == -1).all()
