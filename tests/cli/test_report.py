"""What is printed: the progress of a stage, and one aligned line per iteration."""

import io
from dataclasses import replace

import torch

from napari_blush.cli.report import Progress, Report, finest_step_deg, time_left
from napari_blush.data_model.half_maps import HalfMaps
from napari_blush.data_model.poses import Poses
from napari_blush.data_model.results import (
    Accuracy,
    FscCurves,
    IterationResult,
    PoseStatistics,
    SamplingState,
)


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def iteration_result(iteration: int) -> IterationResult:
    volume, spectrum = torch.zeros(8, 8, 8), torch.zeros(5)
    one = torch.ones(1)
    maps = HalfMaps(half1=volume, half2=volume, voxel_size=3.0)
    sampling = SamplingState(
        healpix_order=3,
        adaptive_oversampling=1,
        offset_range_angstrom=15.0,
        offset_step_angstrom=6.0,
        local_search_sigma_deg=None,
        perturbation=0.1,
    )
    return IterationResult(
        iteration=iteration,
        half_maps=maps,
        references=(volume, volume),
        wiener_maps=maps,
        fsc=FscCurves(spectrum, spectrum, spectrum, spectrum, None),
        resolution_angstrom=12.8,
        cutoff_shell=None,
        tau2=(spectrum, spectrum),
        data_vs_prior=spectrum,
        sigma2_noise=(spectrum, spectrum),
        sigma_offset_angstrom=(3.0, 3.0),
        poses=Poses(torch.eye(3)[None], torch.zeros(1, 2)),
        pose_statistics=PoseStatistics(one, one, one, one),
        pdf_direction=(one, one),
        group_scale=(one, one),
        sampling=sampling,
        accuracy=Accuracy(rotation_deg=3.21, translation_angstrom=1.4),
        changes_rotation_deg=4.0,
        changes_offset_angstrom=1.0,
        average_p_max=0.6123,
        current_size=40,
        coarse_size=30,
        seconds=12.34,
    )


def test_iteration_line_says_what_a_person_follows() -> None:
    stream = io.StringIO()
    Report(stream).iteration(iteration_result(3))
    header, line = stream.getvalue().splitlines()
    assert line.split() == (
        "3 12.80 A - 3.21 deg 1.40 A global 3.75 deg 15.0 by 3.00 A 0.612 40 12.3".split()
    )
    assert len(header) == len(line)


def test_an_accuracy_that_is_not_known_yet_is_a_dash() -> None:
    stream = io.StringIO()
    Report(stream).iteration(replace(iteration_result(1), accuracy=Accuracy(999.0, 999.0)))
    assert stream.getvalue().splitlines()[1].split()[:5] == ["1", "12.80", "A", "-", "-"]


def test_the_line_says_where_denoised_references_end() -> None:
    stream = io.StringIO()
    Report(stream).iteration(replace(iteration_result(1), cutoff_shell=2))
    header, line = stream.getvalue().splitlines()
    assert header.split()[2] == "cut-off"
    assert line.split()[1:5] == ["12.80", "A", "12.00", "A"]  # 8 voxels of 3 A over 2


def test_header_comes_once_and_lines_align() -> None:
    stream = io.StringIO()
    report = Report(stream)
    report.iteration(iteration_result(9))
    fine = replace(
        iteration_result(10).sampling,
        healpix_order=6,
        local_search_sigma_deg=0.9,
        offset_range_angstrom=3.1,
    )
    report.iteration(replace(iteration_result(10), sampling=fine, seconds=1234.5))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert "local 0.469 deg" in lines[2]


def test_messages_of_an_iteration_are_not_said_again() -> None:
    stream = io.StringIO()
    Report(stream).iteration(replace(iteration_result(1), messages=("batch of 8 images",)))
    assert "batch" not in stream.getvalue()


def test_step_of_the_fine_pass() -> None:
    sampling = iteration_result(1).sampling
    assert finest_step_deg(replace(sampling, healpix_order=2)) == 7.5
    assert finest_step_deg(replace(sampling, adaptive_oversampling=0)) == 7.5


def test_away_from_a_terminal_progress_is_rare_and_plain() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    for done in range(11):
        progress.update("expectation", done, 10)
        clock.now += 10.0
    assert stream.getvalue().splitlines() == [
        "expectation: 30 %, 1:10 left",
        "expectation: 60 %, 0:40 left",
        "expectation: 90 %, 0:10 left",
    ]


def test_a_new_stage_starts_its_own_clock() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    progress.update("one", 0, 10)
    clock.now += 1000.0
    progress.update("two", 0, 10)
    clock.now += 40.0
    progress.update("two", 5, 10)
    assert stream.getvalue().splitlines() == ["two: 50 %, 0:40 left"]


def test_on_a_terminal_the_bar_is_removed_before_a_line() -> None:
    bar, lines = Terminal(), io.StringIO()
    report = Report(lines, Progress(bar))
    report.progress.update("expectation", 1, 4)
    assert "expectation  25 %" in bar.getvalue() or "expectation   0 %" in bar.getvalue()
    report.line("done")
    assert bar.getvalue().endswith("\r")
    assert lines.getvalue() == "done\n"


def test_time_left_is_unknown_before_the_first_step() -> None:
    assert time_left(5.0, 0, 10) == "?"
    assert time_left(5.0, 10, 10) == "0:00"
