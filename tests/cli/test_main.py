"""The program as a shell sees it: what it prints, and its exit codes."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

import napari_blush
from napari_blush.cli import main as main_module
from napari_blush.cli.commands import COMMANDS
from napari_blush.cli.main import main
from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import MrcFileError, SettingsError

REFINE = ("refine", "p.star", "--reference", "r.mrc", "--output", "out")


def stand_in(monkeypatch: pytest.MonkeyPatch, outcome: object) -> list[tuple[object, Namespace]]:
    """Let every command record its call, and raise or return ``outcome``."""
    calls: list[tuple[object, Namespace]] = []

    def execute(settings: object, options: Namespace) -> object:
        calls.append((settings, options))
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(
        main_module.importlib, "import_module", lambda name: SimpleNamespace(execute=execute)
    )
    return calls


def test_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"napari-blush {napari_blush.__version__}\n"


def test_python_dash_m_is_the_program() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "napari_blush", "refine"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("napari-blush refine: the following arguments are required")
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert COMMANDS[command].summary in " ".join(text.split())
    assert main(["--help"]) == 0
    assert command in capsys.readouterr().out


def test_no_command_prints_the_help_and_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert "refine" in capsys.readouterr().out


def test_the_command_gets_its_settings_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, 0)
    assert main([*REFINE, "--mask", "m.mrc", "--symmetry", "D2", "--resume"]) == 0
    ((settings, options),) = calls
    assert settings == RefinementSettings(solvent_mask=Path("m.mrc"), symmetry="D2")
    assert (options.particles, options.reference) == (Path("p.star"), Path("r.mrc"))
    assert (options.output, options.resume) == (Path("out"), True)


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (MrcFileError("r.mrc is empty."), 1, "napari-blush: r.mrc is empty.\n"),
        (SettingsError("Symmetry X9 is unknown."), 2, "napari-blush: Symmetry X9 is unknown.\n"),
        (PermissionError("no"), 1, "napari-blush: no\n"),
        (KeyboardInterrupt(), 130, "napari-blush: interrupted\n"),
    ],
)
def test_exit_codes(
    outcome: object,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stand_in(monkeypatch, outcome)
    assert main(REFINE) == code
    assert capsys.readouterr().err == said


def test_traceback_is_shown_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, MrcFileError("r.mrc is empty."))
    with pytest.raises(MrcFileError):
        main([*REFINE, "--traceback"])


def test_a_wrong_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*REFINE, "--healpix-order", "9"]) == 2
    complaint = capsys.readouterr().err
    assert "'9' was given; wanted a whole number from 0 to 7" in complaint
    assert len(complaint.splitlines()) == 1
