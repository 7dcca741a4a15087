import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch
import yaml
from scipy.spatial.transform import Rotation

from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.data_model.particles import ImagesInMemory, Particles
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import (
    Accuracy,
    FscCurves,
    IterationResult,
    Outcome,
    PoseStatistics,
    RefinementResult,
    SamplingState,
)
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import RunFolderError
from napari_blush.io.mrc import read_map, write_stack
from napari_blush.io.run_folder import RunWriter, is_finished
from napari_blush.io.run_history import read_history
from napari_blush.io.run_settings import read_settings
from napari_blush.io.run_state import last_whole_iteration, load_state
from napari_blush.io.star import read_particles, write_particles

N, BOX, VOXEL = 6, 16, 2.0
SUBSET = torch.tensor([1, 2, 1, 2, 2, 1])
STATE = {"x": torch.arange(3.0)}


@pytest.fixture
def particles(tmp_path: Path) -> Particles:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(N, BOX, BOX, generator=generator)
    write_stack(tmp_path / "stack.mrcs", images, VOXEL)
    made = Particles(
        images=ImagesInMemory(images),
        optics_groups=(OpticsGroup("o1", 300.0, 2.7, 0.1, VOXEL, BOX),),
        optics_group_index=torch.zeros(N, dtype=torch.int64),
        defocus=torch.full((N, 3), 1e4, dtype=torch.float64),
        phase_shift_deg=torch.zeros(N).double(), ctf_b_factor=torch.zeros(N).double(),
        ctf_scale=torch.ones(N).double(), poses=Poses.identity(N), has_poses=False,
        random_subset=torch.zeros(N, dtype=torch.int64), group_index=torch.arange(N) // 3,
        group_names=("m1.mrc", "m2.mrc"), norm_correction=torch.ones(N).double(),
    )  # fmt: skip
    names = [f"{i + 1:06d}@stack.mrcs" for i in range(N)]
    write_particles(tmp_path / "p.star", made, {"rlnImageName": names, "myColumn": names})
    return read_particles(tmp_path / "p.star")


def iteration(number: int, order: int = 1) -> IterationResult:
    generator = torch.Generator().manual_seed(number)
    shells = BOX // 2 + 1

    def volume() -> torch.Tensor:
        return torch.randn(BOX, BOX, BOX, generator=generator)

    curve = torch.linspace(1, 0, shells)
    pixels = torch.full((12 * 4**order,), 1 / (12 * 4**order))
    rotations = torch.from_numpy(Rotation.random(N, random_state=number).as_matrix())
    half_maps = HalfMaps(volume(), volume(), VOXEL)
    return IterationResult(
        iteration=number, half_maps=half_maps, references=(volume(), volume()),
        wiener_maps=half_maps, fsc=FscCurves(curve, curve**2, 0 * curve, curve**3, 4),
        resolution_angstrom=8.0, cutoff_shell=4, tau2=(256 * curve, 512 * curve),
        data_vs_prior=10 * curve, sigma2_noise=(256 + 0 * curve[None], 512 + 0 * curve[None]),
        sigma_offset_angstrom=(3.0, 4.0),
        poses=Poses(rotations, torch.randn(N, 2, generator=generator).double()),
        pose_statistics=PoseStatistics(
            torch.linspace(0.1, 0.6, N), torch.arange(N).double() * 1e5,
            torch.arange(N) + 1, torch.linspace(0.9, 1.1, N),
        ),
        pdf_direction=(pixels, pixels), group_scale=(torch.ones(2), torch.tensor([0.9, 1.1])),
        sampling=SamplingState(2, 1, 10.0, 4.0, None, 0.25), accuracy=Accuracy(3.0, 1.5),
        changes_rotation_deg=5.0, changes_offset_angstrom=0.5, average_p_max=0.35,
        current_size=12, coarse_size=8, seconds=1.5, stage_seconds={"expectation": 1.0},
        messages=("all is well",),
    )  # fmt: skip


def result(last: IterationResult) -> RefinementResult:
    half_maps = last.half_maps
    return RefinementResult(
        last, half_maps, half_maps.mean(), 2 * half_maps.mean(), -50.0, last.fsc, 7.5,
        Outcome.CONVERGED, "nothing changes any more",
    )  # fmt: skip


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


OF_ITERATION = {
    "half1_class001.mrc", "half2_class001.mrc", "half1_class001_unfil.mrc",
    "half2_class001_unfil.mrc", "data.star", "half1_model.star", "half2_model.star",
    "sampling.star", "optimiser.star", "state.safetensors",
}  # fmt: skip
OF_END = {
    "run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc",
    "run_data.star", "run_model.star", "run_optimiser.star", "run_sampling.star",
    "run_class001_sharpened.mrc",
}  # fmt: skip


def test_files_are_named_as_in_relion(tmp_path: Path, particles: Particles) -> None:
    folder = tmp_path / "a" / "job"
    with RunWriter(folder, RefinementSettings(), particles) as writer:
        assert files(folder) == {"settings.yaml", "run.lock"}
        writer.write_iteration(iteration(1), SUBSET, STATE)
        expected = {f"run_it001_{name}" for name in OF_ITERATION} | {
            "settings.yaml",
            "history.json",
        }
        assert files(folder) == expected | {"run.lock"}
        assert not is_finished(folder)
        writer.write_result(result(iteration(1)), SUBSET)
    assert files(folder) == expected | OF_END
    assert is_finished(folder)


def test_maps_are_the_right_ones(tmp_path: Path, particles: Particles) -> None:
    made = iteration(7)
    with RunWriter(tmp_path / "job", RefinementSettings(), particles) as writer:
        writer.write_iteration(made, SUBSET, STATE)
        writer.write_result(result(made), SUBSET)
    for name, volume in {
        "run_it007_half1_class001.mrc": made.references[0],
        "run_it007_half2_class001.mrc": made.references[1],
        "run_it007_half1_class001_unfil.mrc": made.half_maps.half1,
        "run_half2_class001_unfil.mrc": made.half_maps.half2,
        "run_class001.mrc": made.half_maps.mean(),
        "run_class001_sharpened.mrc": 2 * made.half_maps.mean(),
    }.items():
        read = read_map(tmp_path / "job" / name)
        assert torch.equal(read.volume, volume)
        assert read.voxel_size == VOXEL


def test_data_star_holds_poses_halves_and_foreign_columns(
    tmp_path: Path, particles: Particles
) -> None:
    made = iteration(2)
    with RunWriter(tmp_path / "job", RefinementSettings(), particles) as writer:
        writer.write_iteration(made, SUBSET, STATE)
    again = read_particles(tmp_path / "job" / "run_it002_data.star")
    torch.testing.assert_close(again.poses.rotations, made.poses.rotations, atol=1e-7, rtol=0)
    torch.testing.assert_close(
        again.poses.shifts_angstrom, made.poses.shifts_angstrom, atol=1e-6, rtol=0
    )
    assert torch.equal(again.random_subset, SUBSET)
    assert torch.equal(again.group_index, particles.group_index)
    assert again.columns["myColumn"].tolist() == particles.columns["myColumn"].tolist()
    table = starfile.read(tmp_path / "job" / "run_it002_data.star")["particles"]
    np.testing.assert_allclose(table["rlnMaxValueProbDistribution"], np.linspace(0.1, 0.6, N))
    np.testing.assert_allclose(table["rlnLogLikeliContribution"], np.arange(N) * 1e5)
    assert table["rlnNrOfSignificantSamples"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["rlnClassNumber"].tolist() == [1] * N
    assert table["rlnGroupNumber"].tolist() == [1, 1, 1, 2, 2, 2]


def test_model_star_in_relion_units(tmp_path: Path, particles: Particles) -> None:
    with RunWriter(tmp_path / "job", RefinementSettings(), particles) as writer:
        writer.write_iteration(iteration(2), SUBSET, STATE)
    model = starfile.read(tmp_path / "job" / "run_it002_half2_model.star")
    general = model["model_general"]
    assert general["rlnCurrentResolution"] == 8.0
    assert general["rlnOriginalImageSize"] == BOX
    assert general["rlnPixelSize"] == VOXEL
    assert general["rlnSigmaOffsetsAngst"] == 4.0
    assert general["rlnAveragePmax"] == pytest.approx((0.2 + 0.4 + 0.5) / 3, abs=1e-6)
    assert general["rlnLogLikelihood"] == pytest.approx((1 + 3 + 4) * 1e5)
    spectra = model["model_class_1"]
    assert spectra["rlnSpectralIndex"].tolist() == list(range(BOX // 2 + 1))
    assert spectra["rlnAngstromResolution"].tolist()[:3] == [999.0, 32.0, 16.0]
    # The curve that drove the run: corrected for the mask, which is automatic here.
    driving = np.linspace(1, 0, 9) ** 3
    np.testing.assert_allclose(spectra["rlnGoldStandardFsc"], driving, atol=1e-6)
    # RELION's transforms are divided by the number of pixels, ours by the box.
    np.testing.assert_allclose(spectra["rlnReferenceTau2"], 2 * np.linspace(1, 0, 9), atol=1e-6)
    np.testing.assert_allclose(model["model_optics_group_1"]["rlnSigma2Noise"], 2.0)
    groups = model["model_groups"]
    assert groups["rlnGroupName"].tolist() == ["m1.mrc", "m2.mrc"]
    assert groups["rlnGroupNrParticles"].tolist() == [1, 2]
    np.testing.assert_allclose(groups["rlnGroupScaleCorrection"], [0.9, 1.1], atol=1e-6)
    assert len(model["model_pdf_orient_class_1"]) == 48


def denoised(number: int) -> IterationResult:
    """An iteration whose references a denoiser made."""
    half_maps = iteration(number).half_maps
    maps = HalfMaps(half_maps.half2 / 2, half_maps.half1 / 2, VOXEL)
    return replace(iteration(number), denoised_maps=maps, regularized_by="blush (w 1, sha256 ab)")


def test_denoised_maps_lie_beside_the_others_and_say_what_they_are(
    tmp_path: Path, particles: Particles
) -> None:
    folder = tmp_path / "job"
    with RunWriter(folder, RefinementSettings(), particles) as writer:
        writer.write_iteration(iteration(1), SUBSET, STATE)
        assert not list(folder.glob("*denoised*"))
        made = denoised(2)
        writer.write_iteration(made, SUBSET, STATE)
        writer.write_result(result(made), SUBSET)
    assert {path.name for path in folder.glob("*denoised*")} == {
        "run_it002_half1_class001_denoised.mrc",
        "run_it002_half2_class001_denoised.mrc",
    }
    for half, volume in ((1, made.denoised_maps.half1), (2, made.denoised_maps.half2)):
        path = folder / f"run_it002_half{half}_class001_denoised.mrc"
        assert torch.equal(read_map(path).volume, volume)
        with mrcfile.open(path, header_only=True) as opened:
            labels = [str(label, "ascii") for label in opened.header.label[: opened.header.nlabl]]
        assert labels == [
            "Created by napari-blush",
            "Denoised: a reference for alignment only, not a result",
        ]


def test_what_made_the_references_is_written_everywhere(
    tmp_path: Path, particles: Particles
) -> None:
    folder = tmp_path / "job"
    settings = RefinementSettings(regularizer="blush", spectral_trailing=False)
    with RunWriter(folder, settings, particles) as writer:
        writer.write_regularizer("blush (w 1, sha256 ab)")
        writer.write_iteration(denoised(1), SUBSET, STATE)
    assert yaml.safe_load((folder / "settings.yaml").read_text())["regularizer"] == (
        "blush (w 1, sha256 ab)"
    )
    line = read_history(folder)[0]
    assert line["regularizer"] == "blush (w 1, sha256 ab)"
    assert line["cutoff_shell"] == 4
    general = starfile.read(folder / "run_it001_half1_model.star")["model_general"]
    assert general["blushRegularizer"] == "blush (w 1, sha256 ab)"
    assert general["blushCutoffShell"] == 4
    optimiser = starfile.read(folder / "run_it001_optimiser.star")
    assert (optimiser["rlnDoBlush"], optimiser["rlnBlushNoSpectralTrailing"]) == (1, 1)


def test_weights_may_have_moved_but_trailing_may_not_change(
    tmp_path: Path, particles: Particles
) -> None:
    """What the weights are is told by their checksum, which the state knows."""
    folder = tmp_path / "job"
    with RunWriter(folder, RefinementSettings(denoiser="a"), particles) as writer:
        writer.write_iteration(iteration(1), SUBSET, STATE)
    RunWriter(folder, RefinementSettings(denoiser="b"), particles, resume=True).close()
    settings = RefinementSettings(spectral_trailing=False)
    with pytest.raises(RunFolderError, match="spectral_trailing"):
        RunWriter(folder, settings, particles, resume=True)


def test_without_any_mask_the_plain_curve_drove_the_run(
    tmp_path: Path, particles: Particles
) -> None:
    settings = RefinementSettings(automatic_mask=False)
    with RunWriter(tmp_path / "job", settings, particles) as writer:
        writer.write_iteration(iteration(2), SUBSET, STATE)
    model = starfile.read(tmp_path / "job" / "run_it002_half2_model.star")
    found = model["model_class_1"]["rlnGoldStandardFsc"]
    np.testing.assert_allclose(found, np.linspace(1, 0, 9), atol=1e-6)


def test_sampling_and_optimiser_star(tmp_path: Path, particles: Particles) -> None:
    settings = RefinementSettings(symmetry="D2", seed=11, particle_diameter=25.0)
    with RunWriter(tmp_path / "job", settings, particles) as writer:
        writer.write_iteration(iteration(2), SUBSET, STATE)
        writer.write_result(result(iteration(2)), SUBSET)
    sampling = starfile.read(tmp_path / "job" / "run_it002_sampling.star")
    assert sampling["sampling_general"]["rlnHealpixOrder"] == 2
    assert sampling["sampling_general"]["rlnPsiStep"] == 15.0
    assert sampling["sampling_general"]["rlnSymmetryGroup"] == "D2"
    assert sampling["sampling_general"]["rlnOffsetStep"] == 4.0
    assert len(sampling["sampling_directions"]) == 48
    optimiser = starfile.read(tmp_path / "job" / "run_it002_optimiser.star")
    assert optimiser["rlnCurrentIteration"] == 2
    assert optimiser["rlnHasConverged"] == 0
    assert optimiser["rlnRandomSeed"] == 11
    assert optimiser["rlnParticleDiameter"] == 25.0
    assert optimiser["rlnBestResolutionThusFar"] == 0.125
    final = starfile.read(tmp_path / "job" / "run_optimiser.star")
    assert final["rlnHasConverged"] == 1
    for table in (optimiser, final):
        for label in (
            "rlnModelStarFile",
            "rlnExperimentalDataStarFile",
            "rlnOrientSamplingStarFile",
        ):
            assert Path(table[label]).is_file()


def test_no_resolution_is_written_as_relion_does(tmp_path: Path, particles: Particles) -> None:
    made = replace(iteration(1), resolution_angstrom=float("inf"))
    with RunWriter(tmp_path / "job", RefinementSettings(), particles) as writer:
        writer.write_iteration(made, SUBSET, STATE)
    model = starfile.read(tmp_path / "job" / "run_it001_half1_model.star")
    assert model["model_general"]["rlnCurrentResolution"] == 999.0
    assert read_history(tmp_path / "job")[0]["resolution_angstrom"] is None


def test_settings_and_history(tmp_path: Path, particles: Particles) -> None:
    settings = RefinementSettings(symmetry="C3", seed=5, solvent_mask=Path("mask.mrc"))
    with RunWriter(tmp_path / "job", settings, particles) as writer:
        for number in (1, 2, 3):
            writer.write_iteration(iteration(number), SUBSET, STATE)
    written = yaml.safe_load((tmp_path / "job" / "settings.yaml").read_text())
    assert written["settings"]["seed"] == 5
    assert set(written["versions"]) >= {"napari-blush", "torch", "numpy", "python"}
    assert read_settings(tmp_path / "job") == settings
    lines = (tmp_path / "job" / "history.json").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3]
    line = json.loads(lines[1])
    assert line["resolution_angstrom"] == 8.0
    np.testing.assert_allclose(line["fsc"]["unmasked"], np.linspace(1, 0, 9), atol=1e-6)
    assert line["messages"] == ["all is well"]


def test_resume_goes_on_and_forgets_what_was_cut_short(
    tmp_path: Path, particles: Particles
) -> None:
    settings = RefinementSettings()
    with RunWriter(tmp_path / "job", settings, particles) as writer:
        for number in (1, 2, 3):
            writer.write_iteration(iteration(number), SUBSET, {"x": torch.tensor(number)})
        writer.write_result(result(iteration(3)), SUBSET)
    more = settings.model_copy(update={"max_iterations": 99})
    with RunWriter(tmp_path / "job", more, particles, resume=True) as writer:
        assert load_state(tmp_path / "job")[0] == 3
        # From an earlier iteration on: the later ones are of another run now.
        writer.write_iteration(iteration(2), SUBSET, {"x": torch.tensor(20)})
    assert last_whole_iteration(tmp_path / "job") == 2
    assert load_state(tmp_path / "job")[1]["x"] == 20
    assert [line["iteration"] for line in read_history(tmp_path / "job")] == [1, 2]
    assert not is_finished(tmp_path / "job")
    assert read_settings(tmp_path / "job").max_iterations == 99


def test_a_folder_belongs_to_one_run(tmp_path: Path, particles: Particles) -> None:
    settings = RefinementSettings()
    folder = tmp_path / "job"
    with RunWriter(folder, settings, particles) as writer:
        with pytest.raises(RunFolderError, match="is in use by process"):
            RunWriter(folder, settings, particles)
        writer.write_iteration(iteration(1), SUBSET, STATE)
    with pytest.raises(RunFolderError, match="holds a run already"):
        RunWriter(folder, settings, particles)
    changed = settings.model_copy(update={"symmetry": "C2"})
    with pytest.raises(
        RunFolderError, match="begun with symmetry = C1 and is now to go on with C2"
    ):
        RunWriter(folder, changed, particles, resume=True)
    swapped = replace(particles, columns={"rlnImageName": particles.columns["rlnImageName"][::-1]})
    with pytest.raises(RunFolderError, match="other particles"):
        RunWriter(folder, settings, swapped, resume=True)
    (folder / "settings.yaml").write_text("settings: {colour: blue}")
    with pytest.raises(RunFolderError, match="settings that this version does not know"):
        RunWriter(folder, settings, particles, resume=True)
    for text in ("]", "- 1", "settings: 3"):
        (folder / "settings.yaml").write_text(text)
        with pytest.raises(RunFolderError, match="start a new run"):
            RunWriter(folder, settings, particles, resume=True)
    # Each refusal gave the folder back.
    assert "run.lock" not in files(folder)


def test_resume_of_nothing_starts(tmp_path: Path, particles: Particles) -> None:
    with RunWriter(tmp_path / "job", RefinementSettings(), particles, resume=True) as writer:
        writer.write_iteration(iteration(1), SUBSET, STATE)
    assert last_whole_iteration(tmp_path / "job") == 1


def test_lock_of_a_dead_run_is_told(tmp_path: Path, particles: Particles) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    (tmp_path / "job").mkdir()
    owner = {"pid": process.pid, "host": os.uname().nodename, "began": None}
    (tmp_path / "job" / "run.lock").write_text(json.dumps(owner))
    with RunWriter(tmp_path / "job", RefinementSettings(), particles) as writer:
        assert f"process {process.pid}" in writer.messages[0]


def test_folder_that_cannot_be(tmp_path: Path, particles: Particles) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"Cannot make run folder .*is a file"):
        RunWriter(tmp_path / "file" / "job", RefinementSettings(), particles)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("name", sorted(OF_ITERATION))
def test_full_disk_leaves_the_iteration_before(
    tmp_path: Path, particles: Particles, name: str
) -> None:
    folder = tmp_path / "job"
    with RunWriter(folder, RefinementSettings(), particles) as writer:
        writer.write_iteration(iteration(1), SUBSET, STATE)
        before = files(folder)
        # Whatever is written there meets a disk without space.
        (folder / f".run_it002_{name}.{os.getpid()}.part").symlink_to("/dev/full")
        with pytest.raises(RunFolderError, match=f"run_it002_{name}: the disk is full"):
            writer.write_iteration(iteration(2), SUBSET, STATE)
        assert files(folder) == before
        assert last_whole_iteration(folder) == 1
        writer.write_iteration(iteration(2), SUBSET, STATE)
        assert last_whole_iteration(folder) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("name", sorted(OF_END))
def test_full_disk_leaves_no_half_written_end(
    tmp_path: Path, particles: Particles, name: str
) -> None:
    folder = tmp_path / "job"
    with RunWriter(folder, RefinementSettings(), particles) as writer:
        (folder / f".{name}.{os.getpid()}.part").symlink_to("/dev/full")
        with pytest.raises(RunFolderError, match="disk is full"):
            writer.write_result(result(iteration(1)), SUBSET)
        assert files(folder) == {"settings.yaml", "run.lock"}
        assert not is_finished(folder)


def test_broken_history_is_said(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text("{}\n")
    with pytest.raises(RunFolderError, match="cannot be understood"):
        read_history(tmp_path)
    assert read_history(tmp_path / "nowhere") == []


@pytest.mark.relion
def test_relion_reads_the_tables(tmp_path: Path, particles: Particles) -> None:
    made = iteration(1)
    with RunWriter(tmp_path / "job", RefinementSettings(), particles) as writer:
        writer.write_iteration(made, SUBSET, STATE)
        writer.write_result(result(made), SUBSET)

    def relion(*words: str) -> str:
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    relion(
        "relion_star_handler", "--i", "job/run_data.star", "--select", "rlnRandomSubset",
        "--minval", "1", "--maxval", "1", "--o", "half1.star",
    )  # fmt: skip
    chosen = starfile.read(tmp_path / "half1.star")["particles"]
    assert chosen["rlnImageName"].tolist() == [
        f"{int(i) + 1:06d}@stack.mrcs" for i in torch.nonzero(SUBSET == 1)
    ]
    assert chosen["myColumn"].tolist() == chosen["rlnImageName"].tolist()
    relion(
        "relion_reconstruct", "--i", "job/run_it001_data.star", "--o", "map.mrc", "--ctf",
        "--subset", "1",
    )  # fmt: skip
    assert read_map(tmp_path / "map.mrc").volume.shape == (BOX, BOX, BOX)
    relion(
        "relion_image_handler", "--i", "job/run_it001_half1_class001.mrc", "--multiply_constant",
        "2", "--o", "doubled.mrc",
    )  # fmt: skip
    doubled = read_map(tmp_path / "doubled.mrc")
    torch.testing.assert_close(doubled.volume, 2 * made.references[0])
    assert doubled.voxel_size == VOXEL
    assert shutil.which("relion_star_printtable") is not None
    for table in ("job/run_model.star", "job/run_it001_half1_model.star"):
        printed = relion("relion_star_printtable", table, "data_model_class_1", "_rlnReferenceTau2")
        values = [float(line) for line in printed.split()]
        np.testing.assert_allclose(values, np.linspace(1, 0, BOX // 2 + 1), atol=1e-6)
