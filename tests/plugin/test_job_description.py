"""The command line that a dock shows starts the same run, to the last digit."""

import shlex
from pathlib import Path

import pytest

from napari_blush.cli.commands import build_parser
from napari_blush.cli.options import settings_from_options
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.plugin.job_description import JobDescription
from napari_blush.plugin.presets import PRESETS

CHANGES = [changes for _, changes in PRESETS.values()]
AWKWARD = {
    "particle_diameter": 123.4567891,
    "adaptive_fraction": 0.9999999,
    "initial_low_pass": None,
    "solvent_mask": Path("my maps/the mask.mrc"),
    "zero_mask": False,
    "denoiser_strength": 0.0,
    "tau2_fudge": 1e-7,
    "threads": 3,
    "precision": "tf32",
    "trailing_limit": 1 / 3,
}


@pytest.mark.parametrize("changes", [*CHANGES, AWKWARD], ids=[*PRESETS, "awkward"])
def test_the_shell_reads_what_the_dock_wrote(changes) -> None:
    settings = RefinementSettings(**changes)
    job = JobDescription(Path("a b/p.star"), Path("start.mrc"), Path("out"), settings, True)
    program, *words = shlex.split(job.command)
    assert program == "napari-blush"
    options = build_parser().parse_args(words)
    assert options.command == "refine"
    assert settings_from_options(RefinementSettings, options) == settings
    assert str(options.reference) == "start.mrc"
    assert options.resume


def test_presets_invent_no_screw() -> None:
    names = ["Small membrane protein", "Large complex", "Filament", "Quick look"]
    assert list(PRESETS) == names
    assert not {"helical_twist", "helical_rise"} & PRESETS["Filament"][1].keys()
    for help_text, changes in PRESETS.values():
        assert help_text
        assert RefinementSettings(**changes) != RefinementSettings()
