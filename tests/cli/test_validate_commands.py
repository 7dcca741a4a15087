"""``validate`` from files to files: what each command prints, writes and refuses."""

import re
from pathlib import Path
from xml.etree import ElementTree

import gemmi
import pytest
import starfile
import torch

from napari_blush.cli.commands import COMMANDS
from napari_blush.cli.main import main
from napari_blush.cli.validate_commands import VALIDATE_COMMANDS
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.weights import save_denoiser
from napari_blush.errors import RunFolderError
from napari_blush.io.mrc import read_map, write_map
from napari_blush.numerics.masks import soft_sphere
from napari_blush.simulation.atomic_density import density_of_atoms
from napari_blush.validation.kept_sections import read_sections, write_sections
from napari_blush.validation.lights import Check, Light
from napari_blush.validation.report_page import Section

BOX, VOXEL = 32, 3.0
SAMPLE = Path(__file__).parents[2] / "sample_data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two noisy half-maps of a made-up peptide, the mean, the model and a mask."""
    path = tmp_path_factory.mktemp("validate")
    generator = torch.Generator().manual_seed(12)
    n = 240
    spread = torch.tensor([14.0, 9.0, 6.0], dtype=torch.float64)
    positions = 48 + spread * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    positions = positions.clamp(10, 84)
    density = density_of_atoms(
        positions,
        torch.full((n,), 6),
        torch.full((n,), 40.0, dtype=torch.float64),
        box_size=BOX,
        voxel_size=VOXEL,
    )
    halves = [
        density + 3 * density.std() * torch.randn(density.shape, generator=generator)
        for _ in (1, 2)
    ]
    for number, half in enumerate(halves, 1):
        write_map(path / f"half{number}.mrc", half, VOXEL)
    write_map(path / "map.mrc", (halves[0] + halves[1]) / 2, VOXEL)
    write_map(path / "mask.mrc", soft_sphere(BOX, 13.0, 3.0), VOXEL)
    model, chain = gemmi.Model(1), gemmi.Chain("A")
    for i in range(n // 4):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(i + 1))
        for name, at in zip(("N", "CA", "C", "CB"), positions[4 * i : 4 * i + 4], strict=True):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso = name, gemmi.Element("C"), 40.0
            atom.pos = gemmi.Position(*at.tolist())
            residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure = gemmi.Structure()
    structure.add_model(model)
    structure.write_pdb(str(path / "model.pdb"))
    return path


def run(folder: Path, out: Path, command: str, *options: str) -> int:
    halves = [str(folder / f"half{h}.mrc") for h in (1, 2)]
    mask = ["--mask", str(folder / "mask.mrc")]
    return main(["validate", command, *halves, *mask, "--output", str(out), *options])


def test_resolution_writes_curves_and_page(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path, "resolution") == 0
    said = capsys.readouterr().out
    assert said.startswith("Half-maps: green")
    table = starfile.read(tmp_path / "postprocess.star", always_dict=True)
    wanted = table["fsc"]["rlnFourierShellCorrelationCorrected"].to_numpy()
    root = ElementTree.parse(tmp_path / "fsc_corrected.xml").getroot()
    curve = [float(e.findtext("y", "")) for e in root.iter("coordinate")]
    assert curve == pytest.approx(wanted.tolist(), abs=1e-5)
    assert f"{table['general']['rlnFinalResolution']:.2f} A" in said
    assert "FSC of the solvent" in (tmp_path / "report.html").read_text()


def test_directional(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, tmp_path, "directional", "--healpix-order", "0") == 0
    assert "conical area ratio" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()


def test_local_writes_two_maps(folder: Path, tmp_path: Path) -> None:
    options = ("--window", "36", "--step", "6", "--device", "cpu")
    assert run(folder, tmp_path, "local", *options) == 0
    local = read_map(tmp_path / "local_resolution.mrc")
    assert 2 * VOXEL <= float(local.volume.min()) <= float(local.volume.max()) <= 36 + 1e-3
    assert read_map(tmp_path / "locally_filtered.mrc").voxel_size == VOXEL


def test_model_with_halves_and_a_built_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(folder / "map.mrc"), str(folder / "model.pdb")]
    halves = ["--half1", str(folder / "half1.mrc"), "--half2", str(folder / "half2.mrc")]
    built = ["--built", str(folder / "model.pdb")]
    assert main(["validate-model", *files, *halves, *built, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Atomic model: green")
    assert "Model completeness 100.0 %: 60 of 60" in said
    residues = starfile.read(tmp_path / "residues.star")
    assert len(residues) == 60
    assert residues["blushCorrelation"].median() > 0.7
    assert residues["blushQScore"].between(-1, 1).all()
    assert "Q-score" in said and "Q-score</text>" in (tmp_path / "report.html").read_text()
    assert read_map(tmp_path / "model_density.mrc").volume.shape == (BOX,) * 3
    assert main(["validate-model", *files, *halves[:2], "--output", str(tmp_path)]) == 2
    assert "wanted both" in capsys.readouterr().err


def test_a_model_is_built_where_the_program_is(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [str(folder / "map.mrc"), str(folder / "model.pdb"), "--output", str(tmp_path)]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert main(["validate-model", *files, "--build"]) == 0
    said = capsys.readouterr().out
    assert "ModelAngelo is not installed" in said and "completeness" not in said
    # A program of that name that gives the model back, without its first 15 residues.
    program = tmp_path / "bin" / "model_angelo"
    program.parent.mkdir()
    structure = gemmi.read_structure(str(folder / "model.pdb"))
    for _ in range(15):
        del structure[0][0][0]
    structure.make_mmcif_document().write_file(str(tmp_path / "built.cif"))
    lines = ["#!/bin/sh", '[ "$1 $2 $4" = "build_no_seq -v -o" ] || exit 3', '/bin/mkdir -p "$5"']
    lines += [f'/bin/cp "{tmp_path}/built.cif" "$5/model_angelo.cif"', 'echo no > "$5/x_raw.cif"']
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    assert main(["validate-model", *files, "--build"]) == 0
    # Strewn as they are, some of those lost have another one's C-alpha nearby.
    found = re.search(r"(\d+) of 60 residues have a built", capsys.readouterr().out)
    assert found and 45 <= int(found[1]) < 58
    program.write_text("#!/bin/sh\necho out of memory >&2; exit 7")
    assert main(["validate-model", *files, "--build"]) == 1
    assert "ended with 7 (out of memory)" in capsys.readouterr().err


def test_a_denoiser_is_tested(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "tiny.safetensors"
    torch_generator = torch.Generator().manual_seed(2)
    network = BlushUNet(width=2, depth=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch_generator))
    save_denoiser(weights, network, {"name": "tiny", "voxel_size": 3.0, "block_size": 32})
    options = ("--denoiser", str(weights), "--device", "cpu", "--randomize-at", "19.2")
    compared = ("--other-denoiser", str(weights), "--passes", "2")
    assert run(folder, tmp_path, "denoiser", *options, *compared) == 0
    said = capsys.readouterr().out
    assert "power when recycled" in said and "movements of the block grid" in said
    # Weights beside themselves differ in nothing.
    assert "at most 0.0 % of the map, tiny" in said
    assert "gained by denoising" in said
    assert "phases randomized beyond 19.20 A" in said


def test_angles_of_a_star_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poses = SAMPLE / "truth" / "truth_poses.star"
    assert main(["validate", "angles", str(poses), "--output", str(tmp_path)]) == 0
    assert "efficiency of views" in capsys.readouterr().out
    bare = str(SAMPLE / "particles.star")
    assert main(["validate-angles", bare, "--output", str(tmp_path)]) == 1
    assert "has no poses" in capsys.readouterr().err


def test_everything_on_one_page(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", str(folder / "model.pdb"), "--step", "8")
    halves = [str(folder / f"half{h}.mrc") for h in (1, 2)]
    mask = ["--mask", str(folder / "mask.mrc")]
    assert main(["validate", *halves, *mask, *model, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for title in ("Half-maps", "Directions", "Local resolution", "Atomic model"):
        assert f"{title}: " in said
        assert f"<h2>{title}</h2>" in (tmp_path / "report.html").read_text()
    for command in ("validate-denoiser", "validate-overfitting", "validate-bias"):
        assert command in said
    assert "validate-model" not in said


def test_weights_and_repeated_runs_on_the_same_page(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(3)
    weights, bias = tmp_path / "tiny.safetensors", tmp_path / "noise"
    save_denoiser(weights, BlushUNet(2, 2), {"voxel_size": 3.0, "block_size": 16, "name": "tiny"})
    bias.mkdir()
    check = Check("explained by noise", "8 %", Light.GREEN, "Little <is>.")
    found = Section("Noise alone", [check], ["<svg><text>drawn</text></svg>"], ["A note."])
    write_sections(bias, "validate-bias", [found])
    halves = [str(folder / f"half{h}.mrc") for h in (1, 2)]
    common = [*halves, "--mask", str(folder / "mask.mrc"), "--step", "8", "--device", "cpu"]
    common += ["--output", str(tmp_path / "out"), "--bias", str(bias)]
    # What is another command's is refused before anything is computed.
    assert main(["validate", *common, "--overfitting", str(bias)]) == 1
    assert "is the output of validate-bias; wanted" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["validate", *common, "--denoiser", str(weights)]) == 0
    said, page = capsys.readouterr().out, (tmp_path / "out" / "report.html").read_text()
    for text in ("<h2>Denoiser</h2>", "<h2>Steadiness of the denoiser</h2>", "Little &lt;is&gt;."):
        assert text in page
    assert "<text>drawn</text>" in page
    assert "power when recycled" in said
    assert "validate-overfitting" in said
    assert "validate-denoiser" not in said


def test_kept_sections_come_back(tmp_path: Path) -> None:
    sections = [
        Section("One", [Check("a", "1 Å", Light.RED, "s.")], ["<svg/>"], ["n"]),
        Section("Two", [], [], []),
    ]
    write_sections(tmp_path, "validate-bias", sections)
    assert read_sections(tmp_path, "validate-bias") == sections
    for content in ("{", "[]", '{"command": "validate-bias", "sections": [{}]}'):
        (tmp_path / "report.json").write_text(content)
        with pytest.raises(RunFolderError, match="wanted the output of validate-bias"):
            read_sections(tmp_path, "validate-bias")
    with pytest.raises(RunFolderError, match="Cannot read"):
        read_sections(tmp_path / "none", "validate-bias")


def test_maps_that_do_not_belong_together_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.mrc"
    write_map(other, torch.zeros(16, 16, 16), VOXEL)
    files = [str(folder / "half1.mrc"), str(other)]
    assert main(["validate-directional", *files, "--output", str(tmp_path)]) == 1
    assert "wanted one grid" in capsys.readouterr().err


def test_all_are_commands() -> None:
    assert VALIDATE_COMMANDS.items() <= COMMANDS.items()
