"""What the commands are called and take; the module that does the work is only named here.

Importing this file imports no tensor library, so that help and complaints about the command line
come at once.
"""

import argparse
from pathlib import Path
from typing import NoReturn

from napari_blush import __version__
from napari_blush.cli.command import Command as Command
from napari_blush.cli.options import add_settings_options
from napari_blush.cli.validate_commands import VALIDATE_COMMANDS
from napari_blush.data_model.denoise_settings import DenoiseSettings
from napari_blush.data_model.experiment_settings import ExperimentSettings
from napari_blush.data_model.external_settings import ExternalReconstructionSettings
from napari_blush.data_model.settings import RefinementSettings, Settings
from napari_blush.data_model.tool_settings import (
    PostprocessSettings,
    ReconstructionSettings,
    SimulationSettings,
)
from napari_blush.data_model.training_settings import PreparationSettings, TrainingSettings

_USAGE_ERROR = 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole program."""
    parser = _Parser(
        prog="napari-blush",
        description="Cryo-EM refinement.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"napari-blush {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    for name, command in COMMANDS.items():
        child = commands.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary}.",
            usage=f"%(prog)s {command.usage} [options]",
            allow_abbrev=False,
        )
        child.set_defaults(command=name)
        command.add_files(child)
        add_settings_options(child, command.settings, command.aliases)
        child.add_argument(
            "--traceback", action="store_true", help="on an error show where it was raised"
        )
    return parser


class _Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line instead of a screenful of usage."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and where help is, and leave with the usage code."""
        self.exit(_USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _refine_files(parser: argparse.ArgumentParser) -> None:
    _add_particles(parser, nargs="?")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="MAP",
        help="start map: .mrc, .map or .ccp4",
    )
    _add_output_folder(parser)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last whole iteration in the output"
    )
    parser.add_argument(
        "--continue-from",
        type=Path,
        metavar="FOLDER",
        help="branch: go on from the run in this folder, in another one, with its particles and "
        "settings but for those given here",
    )
    parser.add_argument(
        "--iteration",
        type=int,
        metavar="K",
        help="iteration of --continue-from to go on from; default: its last whole one",
    )


def _postprocess_files(parser: argparse.ArgumentParser) -> None:
    for half in ("half1", "half2"):
        text = f"unfiltered half-map {half[-1]}"
        parser.add_argument(half, type=Path, metavar=half.upper(), help=text)
    _add_output_folder(parser)


def _simulate_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="atomic model (.pdb or .cif, plain or .gz) or map (.mrc, .map or .ccp4)",
    )
    _add_output_folder(parser)


def _train_simulate_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", type=Path, metavar="MODELS", help="library of atomic structures (.npz)"
    )
    parser.add_argument(
        "--clusters",
        type=Path,
        metavar="FILE",
        help="table of the structures' clusters (.tsv); default: the one beside MODELS",
    )
    _add_output_folder(parser)


def _reconstruct_files(parser: argparse.ArgumentParser) -> None:
    _add_particles(parser)
    _add_output_folder(parser)


def _weights_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("list", "import", "fetch"),
        help="what is here; copy a weight file to where it is found by name; download published "
        "weights",
    )
    parser.add_argument(
        "what",
        nargs="?",
        metavar="FILE or NAME",
        help="file to import (.safetensors, .ckpt or .ckpt.gz) or name to fetch",
    )
    parser.add_argument(
        "--name", metavar="TEXT", help="what the imported weights are called; default: as the file"
    )


def _train_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        type=Path,
        metavar="FOLDER",
        nargs="+",
        help="training folder: pairs.tsv and one sub-folder for each pair of half-maps",
    )
    _add_output_folder(parser)
    parser.add_argument(
        "--from",
        dest="start_from",
        metavar="WEIGHTS",
        help="fine-tune these weights: a name of 'weights list', or a file; the learning rate is "
        "2e-4 then, where no other is given",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the output folder"
    )


def _denoise_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "maps", type=Path, nargs="+", metavar="MAP", help="maps: .mrc, .map or .ccp4"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="file for the denoised map, or folder for NAME_denoised.mrc of each",
    )


def _external_reconstruct_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "star", type=Path, metavar="STAR", help="the STAR file that RELION writes and names"
    )


def _relion_python_blush_files(parser: argparse.ArgumentParser) -> None:
    _external_reconstruct_files(parser)
    parser.add_argument("-m", metavar="TEXT", help="weights; v1.0 are the published ones")
    parser.add_argument("-s", type=int, metavar="N", help="stride of the blocks in voxels")
    parser.add_argument("-b", type=int, metavar="N", help="blocks at a time")
    parser.add_argument(
        "-g",
        "--gpu",
        nargs="?",
        const="",
        metavar="IDS",
        help="CUDA devices, numbers between commas; -1: the CPU",
    )
    parser.add_argument(
        "--device_timeout", metavar="N", help="taken and ignored: no device is waited for"
    )
    parser.add_argument("--debug", action="store_true", help="write more maps")
    parser.add_argument(
        "--skip-spectral-trailing", action="store_true", help="do not cut off (unsafe)"
    )


def _report_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="DIR", help="folder of a refinement")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="page to write, or with the suffix .png its slices alone; default: DIR/report.html",
    )


def _train_prepare_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        type=Path,
        metavar="SOURCE",
        nargs="+",
        help="folder that is searched for half-maps, with all folders in it",
    )
    _add_output_folder(parser)
    parser.add_argument(
        "--clusters",
        type=Path,
        metavar="FILE",
        help="table of two columns, entry and cluster; a cluster is not split; default: each "
        "entry is one",
    )


def _add_particles(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    parser.add_argument(
        "particles",
        type=Path,
        nargs=nargs,
        metavar="PARTICLES",
        help="particles: RELION .star or CryoSPARC .cs",
    )
    parser.add_argument(
        "--image-root",
        type=Path,
        metavar="DIR",
        help="folder that image names start from; default: looked for",
    )
    parser.add_argument(
        "--passthrough",
        type=Path,
        metavar="FILE",
        help="CryoSPARC's passthrough .cs file, for what PARTICLES lacks",
    )


def _add_output_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for what the run writes"
    )


COMMANDS: dict[str, Command] = {
    "refine": Command(
        summary="Refine particles to a map by gold-standard auto-refinement",
        usage="PARTICLES --reference MAP --output DIR",
        module="napari_blush.cli.refine",
        settings=RefinementSettings,
        add_files=_refine_files,
        aliases={"solvent_mask": "--mask"},
    ),
    "postprocess": Command(
        summary="Find the resolution of two half-maps and sharpen their mean",
        usage="HALF1 HALF2 --output DIR",
        module="napari_blush.cli.postprocess",
        settings=PostprocessSettings,
        add_files=_postprocess_files,
    ),
    "simulate": Command(
        summary="Make particle images of an atomic model or a map, with the truth beside",
        usage="MODEL --output DIR",
        module="napari_blush.cli.simulate",
        settings=SimulationSettings,
        add_files=_simulate_files,
        aliases={"box_size": "--box"},
    ),
    "report": Command(
        summary="Write a run as one page of HTML: curves, slices, views, settings, methods",
        usage="DIR",
        module="napari_blush.cli.run_report",
        settings=Settings,
        add_files=_report_files,
    ),
    "reconstruct": Command(
        summary="Reconstruct maps from particles whose poses are known",
        usage="PARTICLES --output DIR",
        module="napari_blush.cli.reconstruct",
        settings=ReconstructionSettings,
        add_files=_reconstruct_files,
    ),
    "denoise": Command(
        summary="Denoise maps with the network, as references are in a refinement",
        usage="MAP [MAP ...] --output FILE_OR_FOLDER",
        module="napari_blush.cli.denoise",
        settings=DenoiseSettings,
        add_files=_denoise_files,
    ),
    "train-simulate": Command(
        summary="Make half-map pairs of made-up experiments, to train a denoiser on",
        usage="MODELS --output DIR",
        module="napari_blush.cli.train_simulate",
        settings=ExperimentSettings,
        add_files=_train_simulate_files,
        aliases={"box_size": "--box"},
    ),
    "weights": Command(
        summary="List the denoisers that are here, import or fetch others",
        usage="list | import FILE | fetch NAME",
        module="napari_blush.cli.weights",
        settings=Settings,
        add_files=_weights_files,
    ),
    "train": Command(
        summary="Train a denoiser on half-map pairs, or fine-tune one",
        usage="FOLDER... --output DIR",
        module="napari_blush.cli.train",
        settings=TrainingSettings,
        add_files=_train_files,
    ),
    "train-prepare": Command(
        summary="Check and resample half-map pairs for training, and make missing masks",
        usage="SOURCE... --output DIR",
        module="napari_blush.cli.train_prepare",
        settings=PreparationSettings,
        add_files=_train_prepare_files,
    ),
    "external-reconstruct": Command(
        summary="Denoise the maps of a refinement that RELION runs",
        usage="STAR",
        module="napari_blush.cli.external_reconstruct",
        settings=ExternalReconstructionSettings,
        add_files=_external_reconstruct_files,
    ),
    "relion-python-blush": Command(
        summary="Stand in for relion_python_blush, which RELION 5 runs for --blush",
        usage="STAR",
        module="napari_blush.cli.relion_python_blush",
        settings=Settings,
        add_files=_relion_python_blush_files,
    ),
    **VALIDATE_COMMANDS,
}
