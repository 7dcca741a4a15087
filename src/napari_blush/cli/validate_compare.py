"""``napari-blush validate compare``: two refinements of the same particles side by side."""

import re
from argparse import Namespace
from pathlib import Path

import torch

from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import check_alike, finish, make_folder, read_mask
from napari_blush.conventions import Volume
from napari_blush.data_model.validation_settings import ComparisonSettings
from napari_blush.errors import RunFolderError, SettingsError
from napari_blush.io.atomic import write_bytes
from napari_blush.io.atoms import read_atoms
from napari_blush.io.mrc import MapFile, read_map
from napari_blush.numerics.masks import soft_mask_from_volume
from napari_blush.numerics.point_group import symmetry_operators
from napari_blush.numerics.rotations import euler_to_matrix
from napari_blush.validation.judged_poses import posed_table
from napari_blush.validation.model_density import model_density, placed_model
from napari_blush.validation.run_comparison import Refined, compare_runs
from napari_blush.validation.run_comparison_page import comparison_sections, picture_of
from napari_blush.validation.run_facts import RunFacts, read_run

_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_IMAGE = "rlnImageName"


def execute(settings: ComparisonSettings, options: Namespace) -> int:
    """Compare the runs that ``options`` names; return the exit code."""
    runs = [read_run(folder) for folder in (options.run_a, options.run_b)]
    names = _names(options.run_a, options.run_b)
    first, second = (refined(run, name) for run, name in zip(runs, names, strict=True))
    path = runs[0].half_maps[0]
    given = read_map(path)
    known = _known(settings, path, given)
    if settings.mask is not None:
        mask = read_mask(settings.mask, path, given)
    else:
        # Of a known density, so that no run draws the mask that it is judged in.
        drawn_around = (first.average + second.average) / 2 if known is None else known
        mask = soft_mask_from_volume(drawn_around, given.voxel_size)
    report = Report()
    found = compare_runs(
        first,
        second,
        mask,
        truth=known,
        operators=symmetry_operators(runs[0].settings.symmetry),
        seed=settings.seed,
        step=lambda words: report.line(f"Judging {words}"),
    )
    make_folder(options.output)
    written = []
    if settings.picture is not None:
        write_bytes(settings.picture, picture_of(found).encode(), RunFolderError)
        written.append(settings.picture)
    title = f"{first.name} and {second.name}"
    return finish(report, options.output, title, comparison_sections(found), written)


def refined(run: RunFacts, name: str) -> Refined:
    """Read what a run leaves: half-maps, poses, and where its references ended.

    Raises
    ------
    StarFileError
        When its table has no poses or no image names.
    """
    first, second = (read_map(path) for path in run.half_maps)
    table = posed_table(run.poses)
    angles = torch.stack([torch.from_numpy(table.numbers(label)) for label in _ANGLES], dim=1)
    shells = [line["cutoff_shell"] for line in run.history if line.get("cutoff_shell")]
    state = "finished" if run.is_finished else "not finished"
    if run.settings.regularizer == "blush" and not shells:
        state += ", references never denoised"
    prior = next((line["regularizer"] for line in run.history if line.get("regularizer")), "")
    return Refined(
        name=name,
        half1=first.volume,
        half2=second.volume,
        voxel_size=first.voxel_size,
        particles=tuple(str(image) for image in table.text(_IMAGE)),
        rotations=euler_to_matrix(angles),
        cutoff_shell=shells[-1] if shells else None,
        facts=(
            f"{_short(prior) or run.settings.regularizer}, {run.last['iteration']} iterations, "
            f"{run.n_particles} particles, {state}"
        ),
    )


def _short(prior: str) -> str:
    """Return a prior with the beginning of its checksum, which tells weights apart."""
    return re.sub(r"(sha256 [0-9a-f]{12})[0-9a-f]+", r"\1", prior)


def _names(first: Path, second: Path) -> tuple[str, str]:
    """Return what to call two runs: their folders' names, with the parents' where these agree."""
    paths = first.resolve(), second.resolve()
    if paths[0] == paths[1]:
        raise SettingsError(
            f"The run {first} was given twice; wanted two runs of the same particles; check the "
            "folders."
        )
    if paths[0].name != paths[1].name:
        return paths[0].name, paths[1].name
    return f"{paths[0].parent.name}/{paths[0].name}", f"{paths[1].parent.name}/{paths[1].name}"


def _known(settings: ComparisonSettings, path: Path, given: MapFile) -> Volume | None:
    """Return the known density on the grid of the runs, None where none was named."""
    if settings.truth is not None and settings.model is not None:
        raise SettingsError("A known density and a model were given; wanted one of them.")
    if settings.truth is not None:
        known = read_map(settings.truth, voxel_size=given.voxel_size)
        check_alike(path, given, settings.truth, known)
        return known.volume
    if settings.model is None:
        return None
    placed = placed_model(read_atoms(settings.model), given)
    return model_density(placed, given.volume.shape[-1], given.voxel_size)
