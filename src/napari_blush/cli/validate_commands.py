"""The commands that judge maps and runs: ``napari-blush validate ...``.

Written as two words or as one; what each does is in the module that it names.
"""

import argparse
from pathlib import Path

from napari_blush.cli.command import Command
from napari_blush.data_model.tool_settings import PostprocessSettings
from napari_blush.data_model.validation_settings import (
    AngleSettings,
    ComparisonSettings,
    DenoiserCheckSettings,
    DirectionalSettings,
    ImageRandomizationSettings,
    LocalResolutionSettings,
    ModelCheckSettings,
    ReferenceBiasSettings,
    ValidationSettings,
)


def _halves(parser: argparse.ArgumentParser) -> None:
    for half in ("half1", "half2"):
        text = f"unfiltered half-map {half[-1]}"
        parser.add_argument(half, type=Path, metavar=half.upper(), help=text)
    _output(parser)


def _map_and_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("map", type=Path, metavar="MAP", help="map: .mrc, .map or .ccp4")
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="atomic model: .pdb or .cif, plain or .gz"
    )
    _output(parser)


def _run_and_particles(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of the finished refinement to be tested"
    )
    parser.add_argument(
        "particles", type=Path, metavar="PARTICLES", help="the particles that it refined"
    )
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="MAP", help="its start map"
    )
    parser.add_argument(
        "--image-root", type=Path, metavar="DIR", help="folder that image names start from"
    )
    parser.add_argument(
        "--passthrough", type=Path, metavar="FILE", help="CryoSPARC's passthrough .cs file"
    )
    _output(parser)


def _two_runs(parser: argparse.ArgumentParser) -> None:
    for name, text in (("run_a", "run folder to measure by"), ("run_b", "run folder")):
        parser.add_argument(name, type=Path, metavar=name.upper(), help=text)
    _output(parser)


def _poses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "poses", type=Path, metavar="PATH", help="refined particles (.star), or a run folder"
    )
    _output(parser)


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for what is written"
    )


_TWO_HALVES = "HALF1 HALF2 --output DIR"

VALIDATE_COMMANDS: dict[str, Command] = {
    "validate": Command(
        summary="Judge half-maps, and a model and poses where given, in one report",
        usage=_TWO_HALVES,
        module="napari_blush.cli.validate",
        settings=ValidationSettings,
        add_files=_halves,
    ),
    "validate-resolution": Command(
        summary="Judge half-maps: resolution, mask, solvent; curves for the EMDB",
        usage=_TWO_HALVES,
        module="napari_blush.cli.validate_resolution",
        settings=PostprocessSettings,
        add_files=_halves,
    ),
    "validate-directional": Command(
        summary="Compare half-maps direction by direction",
        usage=_TWO_HALVES,
        module="napari_blush.cli.validate_directional",
        settings=DirectionalSettings,
        add_files=_halves,
    ),
    "validate-local": Command(
        summary="Measure the resolution at every place of a map",
        usage=_TWO_HALVES,
        module="napari_blush.cli.validate_local",
        settings=LocalResolutionSettings,
        add_files=_halves,
    ),
    "validate-model": Command(
        summary="Judge a map by an atomic model: FSC, residues, voxel size, hand",
        usage="MAP MODEL --output DIR",
        module="napari_blush.cli.validate_model",
        settings=ModelCheckSettings,
        add_files=_map_and_model,
    ),
    "validate-compare": Command(
        summary="Compare two refinements of the same particles, such as without and with Blush",
        usage="RUN_A RUN_B --output DIR",
        module="napari_blush.cli.validate_compare",
        settings=ComparisonSettings,
        add_files=_two_runs,
    ),
    "validate-denoiser": Command(
        summary="Denoise phase-randomized half-maps and see whether they come to agree",
        usage=_TWO_HALVES,
        module="napari_blush.cli.validate_denoiser",
        settings=DenoiserCheckSettings,
        add_files=_halves,
    ),
    "validate-overfitting": Command(
        summary="Run a refinement again on phase-randomized images",
        usage="RUN PARTICLES --reference MAP --output DIR",
        module="napari_blush.cli.validate_overfitting",
        settings=ImageRandomizationSettings,
        add_files=_run_and_particles,
    ),
    "validate-bias": Command(
        summary="Refine pure noise against a run's start map, to see what that alone gives",
        usage="RUN PARTICLES --reference MAP --output DIR",
        module="napari_blush.cli.validate_bias",
        settings=ReferenceBiasSettings,
        add_files=_run_and_particles,
    ),
    "validate-angles": Command(
        summary="Judge views and poses of refined particles",
        usage="PATH --output DIR",
        module="napari_blush.cli.validate_angles",
        settings=AngleSettings,
        add_files=_poses,
    ),
}
