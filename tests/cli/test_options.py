"""A settings class as options: what is offered, what is refused, and what wins over what."""

import argparse
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationInfo, field_validator

from napari_blush.cli.options import add_settings_options, settings_from_options
from napari_blush.data_model.settings import RefinementSettings, Settings
from napari_blush.errors import SettingsError


class ExampleSettings(Settings):
    """One field of each kind."""

    count: int = Field(3, ge=1, le=9, description="How many.")
    width_angstrom: float | None = Field(2.5, gt=0, description="Width in A (5 % of the box).")
    kind: Literal["plain", "fancy"] = Field("plain", description="Which kind.")
    mask: Path | None = Field(None, description="A mask.")
    defocus_range: tuple[float, float] = Field((0.5, 2.5), description="Range in um.")
    is_fast: bool = Field(True, description="Hurry.")

    @field_validator("defocus_range")
    @classmethod
    def rises(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        """Check that the range is one."""
        if value[0] > value[1]:
            raise ValueError("falls")
        return value


def parse(*arguments: str, settings: type[Settings] = ExampleSettings) -> Settings:
    parser = argparse.ArgumentParser()
    add_settings_options(parser, settings, {"mask": "--cover"})
    return settings_from_options(settings, parser.parse_args(arguments))


def help_of(settings: type[Settings]) -> str:
    parser = argparse.ArgumentParser()
    add_settings_options(parser, settings)
    return " ".join(parser.format_help().split())


def test_no_options_give_the_defaults() -> None:
    assert parse() == ExampleSettings()


def test_each_kind_of_option_is_understood() -> None:
    arguments = "--count 4 --width-angstrom 1.5 --kind fancy --cover m.mrc --no-is-fast"
    assert parse(*arguments.split(), "--defocus-range", "1", "2") == ExampleSettings(
        count=4,
        width_angstrom=1.5,
        kind="fancy",
        mask=Path("m.mrc"),
        is_fast=False,
        defocus_range=(1.0, 2.0),
    )


def test_none_can_be_said_where_it_is_allowed() -> None:
    parsed = parse("--width-angstrom", "none")
    assert isinstance(parsed, ExampleSettings)
    assert parsed.width_angstrom is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--count 10", "--count: '10' was given; wanted a whole number from 1 to 9"),
        ("--count none", "--count: 'none' was given; wanted a whole number from 1 to 9"),
        ("--count 2.5", "--count: '2.5' was given; wanted a whole number from 1 to 9"),
        ("--width-angstrom 0", "'0' was given; wanted a number above 0, or 'none'"),
        ("--kind odd", "--kind: 'odd' was given; wanted one of plain, fancy"),
        ("--defocus-range 1", "--defocus-range: expected 2 arguments"),
        ("--colour red", "unrecognized arguments: --colour red"),
    ],
)
def test_a_wrong_value_is_refused_in_words(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        parse(*arguments.split())
    assert leaving.value.code == 2
    assert complaint in capsys.readouterr().err


def test_what_only_the_model_can_check_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match=r"defocus_range was given .*; wanted 2 values\.$"):
        parse("--defocus-range", "2", "1")


def test_help_says_description_bounds_choices_and_default() -> None:
    text = help_of(ExampleSettings)
    assert "How many (from 1 to 9; default: 3)" in text
    assert "Width in A (5 % of the box) (above 0; default: 2.5)" in text
    assert "{plain,fancy} Which kind (default: plain)" in text
    assert "Range in um (default: 0.5 2.5)" in text
    assert "Hurry (default: on)" in text


def test_every_refinement_setting_has_an_option_with_a_description() -> None:
    text = help_of(RefinementSettings)
    for name, field in RefinementSettings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert field.description


def test_options_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("count: 5\nkind: fancy\n")
    parsed = parse("--settings", str(file), "--count", "6")
    assert parsed == ExampleSettings(count=6, kind="fancy")


def test_settings_of_a_run_folder_are_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("versions: {torch: '2'}\nsettings: {count: 5}\n")
    assert parse("--settings", str(file)) == ExampleSettings(count=5)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("cuont: 5", "sets 'cuont', which is unknown; did you mean 'count'?"),
        ("count: 50", "count was given 50; wanted a whole number from 1 to 9"),
        ("width_angstrom: .inf", "width_angstrom was given inf; wanted a number above 0"),
        ("- 1\n- 2", "holds no settings"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(
    tmp_path: Path, content: str, complaint: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError) as caught:
        parse("--settings", str(file))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        parse("--settings", str(tmp_path / "nowhere.yaml"))


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("")
    assert parse("--settings", str(file)) == ExampleSettings()


@given(
    count=st.integers(1, 9),
    width=st.none() | st.floats(1e-3, 1e3),
    kind=st.sampled_from(["plain", "fancy"]),
    is_fast=st.booleans(),
)
def test_options_and_file_give_the_same_settings(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    width: float | None,
    kind: Literal["plain", "fancy"],
    is_fast: bool,
) -> None:
    wanted = ExampleSettings(count=count, width_angstrom=width, kind=kind, is_fast=is_fast)
    file = tmp_path_factory.mktemp("yaml") / "run.yaml"
    file.write_text(yaml.safe_dump(wanted.model_dump(mode="json")))
    fast = "--is-fast" if is_fast else "--no-is-fast"
    options = f"--count {count} --width-angstrom {width} --kind {kind} {fast}"
    assert parse(*options.split()) == parse("--settings", str(file)) == wanted
