"""``napari-blush validate model``: a map against an atomic model."""

from argparse import Namespace
from pathlib import Path

import numpy.typing as npt

from napari_blush.cli.model_building import build_model
from napari_blush.cli.report import Report
from napari_blush.cli.validate_files import check_alike, finish, make_folder, read_mask, shown
from napari_blush.conventions import Volume
from napari_blush.data_model.validation_settings import ModelCheckSettings
from napari_blush.errors import SettingsError
from napari_blush.io.atoms import read_atoms
from napari_blush.io.mrc import MapFile, read_map, write_map
from napari_blush.io.star_table import StarBlock
from napari_blush.io.star_text import columns_of, write_star
from napari_blush.validation.emdb_xml import write_fsc_xml
from napari_blush.validation.model_completeness import completeness
from napari_blush.validation.model_report import ModelReport, model_report_steps
from napari_blush.validation.report_sections import model_section


def execute(settings: ModelCheckSettings, options: Namespace) -> int:
    """Judge the map by the model that ``options`` names; return the exit code."""
    given = read_map(options.map, voxel_size=settings.voxel_size)
    halves = _halves(settings, options.map, given)
    mask = None if settings.mask is None else read_mask(settings.mask, options.map, given)
    atoms = read_atoms(options.model, waters=settings.waters)
    report, other = Report(), settings.built
    steps = model_report_steps(given, atoms, halves=halves, mask=mask)
    found = shown(report, "Model", steps)
    make_folder(options.output)
    if other is None and settings.build:
        other = build_model(options.map, options.output / "model_angelo", report)
    built = None if other is None else completeness(read_atoms(other), atoms)
    written = write_model_files(options.output, found, given)
    section = model_section(found, built)
    return finish(report, options.output, "Map against model", [section], written)


def _halves(
    settings: ModelCheckSettings, path: Path, given: MapFile
) -> tuple[Volume, Volume] | None:
    if settings.half1 is None and settings.half2 is None:
        return None
    if settings.half1 is None or settings.half2 is None:
        raise SettingsError("One half-map was given; wanted both: --half1 and --half2.")
    halves = []
    for half_path in (settings.half1, settings.half2):
        half = read_map(half_path, voxel_size=given.voxel_size)
        check_alike(path, given, half_path, half)
        halves.append(half.volume)
    return halves[0], halves[1]


def write_model_files(folder: Path, found: ModelReport, given: MapFile) -> list[Path]:
    """Write the model's density and mask, the curve, and a row for each residue."""
    paths = [folder / "model_density.mrc", folder / "model_mask.mrc"]
    for path, volume in zip(paths, (found.density, found.mask), strict=True):
        write_map(path, volume, given.voxel_size, given.origin_angstrom)
    curve = folder / "fsc_model.xml"
    write_fsc_xml(curve, found.fsc.fsc_sum, given.voxel_size, "FSC of the map with the model")
    residues = found.residues
    table = folder / "residues.star"
    columns: dict[str, npt.ArrayLike] = {
        "blushChain": [name or "?" for name in residues.chain],
        "blushResidueNumber": residues.residue_number.numpy(),
        "blushResidueName": list(residues.residue_name),
        "blushCorrelation": residues.correlation.numpy(),
    }
    if found.q is not None:
        columns["blushQScore"] = found.q.residue.numpy()
    write_star(table, [StarBlock("residues", columns_of(columns))])
    return [*paths, curve, table]
