"""Defocus, micrographs and optics groups as planned; the physics of the dose."""

import pytest
import torch

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.errors import SettingsError
from napari_blush.simulation.exposure import DefocusPlan, draw_exposure, signal_scale_of_dose


def optics(name: str = "one", pixel_size: float = 3.0, box_size: int = 32) -> OpticsGroup:
    return OpticsGroup(name, 300.0, 2.7, 0.1, pixel_size, box_size)


def test_micrographs_share_their_defocus(generator: torch.Generator) -> None:
    plan = DefocusPlan(range_um=(1.0, 2.0), astigmatism_um=0.05, particles_per_micrograph=20)
    exposure = draw_exposure(90, (optics(),), plan, generator)
    u, v, angle = exposure.defocus.unbind(1)
    assert exposure.group_index.bincount().tolist() == [20, 20, 20, 20, 10]
    assert len(exposure.group_names) == 5
    for micrograph in range(5):
        rows = exposure.group_index == micrograph
        mean = (u + v)[rows] / 2
        assert mean.max() - mean.min() <= 200
        assert mean.max() - mean.min() > 50
        assert 1e4 - 100 <= mean.min() <= mean.max() <= 2e4 + 100
        # One astigmatism for all particles of a micrograph.
        assert ((u - v)[rows].std() < 1e-8) and (angle[rows].std() < 1e-12)
    assert 0 <= (u - v).min() <= (u - v).max() <= 500
    assert (u + v).std() > 500


def test_optics_groups_take_turns(generator: torch.Generator) -> None:
    plan = DefocusPlan(particles_per_micrograph=5)
    exposure = draw_exposure(20, (optics("a"), optics("b")), plan, generator)
    assert exposure.optics_group_index.reshape(4, 5).tolist() == [
        [0] * 5,
        [1] * 5,
        [0] * 5,
        [1] * 5,
    ]


def test_groups_of_different_sizes_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(SettingsError, match="wanted one for all"):
        draw_exposure(4, (optics(), optics(pixel_size=2.0)), DefocusPlan(), generator)


@pytest.mark.parametrize("fields", [{"range_um": (2.0, 1.0)}, {"particles_per_micrograph": 0}])
def test_a_plan_without_sense_is_refused(fields: dict) -> None:
    with pytest.raises(SettingsError, match="wanted"):
        DefocusPlan(**fields)


def test_interaction_constant_is_the_textbooks() -> None:
    # Interaction constants in rad / (V A) as tabulated, times 2 and 47.878 V A^2, for pixels of
    # 1 A and one electron per A^2.
    for kilovolt, sigma in ((300.0, 0.6526e-3), (100.0, 0.9244e-3)):
        wanted = 2 * sigma * 47.878
        assert signal_scale_of_dose(1.0, 1.0, kilovolt) == pytest.approx(wanted, rel=1e-3)


def test_signal_grows_with_the_root_of_the_dose_and_the_area_of_the_pixel() -> None:
    one = signal_scale_of_dose(10.0, 1.0, 300.0)
    assert signal_scale_of_dose(40.0, 1.0, 300.0) == pytest.approx(2 * one)
    assert signal_scale_of_dose(10.0, 3.0, 300.0) == pytest.approx(9 * one)


def test_no_dose_is_refused() -> None:
    with pytest.raises(SettingsError, match="dose"):
        signal_scale_of_dose(0.0, 1.0, 300.0)
