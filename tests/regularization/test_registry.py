"""Regularizers by name: ours, those of other packages, and what is not one."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest
import torch

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.errors import SettingsError
from napari_blush.regularization import registry
from napari_blush.regularization.registry import ENTRY_POINT_GROUP, make_regularizer
from napari_blush.regularization.regularizer import Regularized, Regularizer
from napari_blush.regularization.smoothness import SmoothnessRegularizer


def made_by_name(name: str) -> Regularizer:
    """The regularizer of a run whose settings name it, on the CPU."""
    return make_regularizer(RefinementSettings(regularizer=name), torch.device("cpu"))


class ThirdParty:
    """What another package might provide."""

    def __init__(self, settings, device) -> None:
        self.name = "third-party"
        self.made_for = settings.tau2_fudge, device

    def regularize(self, given):
        yield from ()
        return Regularized((given.unfiltered.half1, given.unfiltered.half2))


class NotARegularizer:
    """Has a name and cannot regularize."""

    name = "not one"

    def __init__(self, settings, device) -> None:
        pass


class Installed:
    """Stands in for the metadata of installed packages."""

    def __init__(self, **loads) -> None:
        self.loads = loads

    def __call__(self, *, group: str):
        assert group == ENTRY_POINT_GROUP
        return [StandIn(name, load) for name, load in self.loads.items()]


class StandIn:
    def __init__(self, name: str, thing) -> None:
        self.name = name
        self.thing = thing
        self.value = f"somewhere:{name}"

    def load(self):
        return self.thing


def test_the_baseline_is_there_without_any_package(monkeypatch) -> None:
    monkeypatch.setattr(registry, "entry_points", Installed())
    made = made_by_name("smoothness")
    assert isinstance(made, SmoothnessRegularizer)
    assert isinstance(made, Regularizer)
    assert made.name == "smoothness"


def test_one_of_another_package_is_found(monkeypatch) -> None:
    monkeypatch.setattr(registry, "entry_points", Installed(other=ThirdParty, mine=ThirdParty))
    made = made_by_name("mine")
    assert isinstance(made, ThirdParty)
    assert made.made_for == (1.0, torch.device("cpu"))


def test_it_is_found_through_real_metadata(monkeypatch) -> None:
    point = EntryPoint(
        "by-module",
        "napari_blush.regularization.registry:_smoothness",
        ENTRY_POINT_GROUP,
    )
    monkeypatch.setattr(
        registry, "entry_points", lambda **query: EntryPoints([point]).select(**query)
    )
    assert isinstance(made_by_name("by-module"), SmoothnessRegularizer)


def test_another_package_cannot_take_the_name_of_the_baseline(monkeypatch) -> None:
    monkeypatch.setattr(registry, "entry_points", Installed(smoothness=ThirdParty))
    assert isinstance(made_by_name("smoothness"), SmoothnessRegularizer)


def test_an_unknown_name_is_told_what_is_known(monkeypatch) -> None:
    monkeypatch.setattr(registry, "entry_points", Installed(sharpish=ThirdParty))
    with pytest.raises(SettingsError, match=r"'hope' is not known.*sharpish, smoothness"):
        made_by_name("hope")


@pytest.mark.parametrize("wrong", [NotARegularizer, lambda settings, device: {}, lambda *_: None])
def test_an_object_that_cannot_regularize_is_refused(monkeypatch, wrong) -> None:
    monkeypatch.setattr(registry, "entry_points", Installed(wrong=wrong))
    with pytest.raises(SettingsError, match="'wrong' does not make a regularizer"):
        made_by_name("wrong")


def test_a_package_that_cannot_be_loaded_is_named(monkeypatch) -> None:
    point = EntryPoint("broken", "no_such_package.anywhere:Thing", ENTRY_POINT_GROUP)
    monkeypatch.setattr(
        registry, "entry_points", lambda **query: EntryPoints([point]).select(**query)
    )
    with pytest.raises(SettingsError, match=r"'broken'.*no_such_package"):
        made_by_name("broken")


@pytest.mark.parametrize("factory", [lambda: None, lambda one, two, three: None, "no function"])
def test_one_that_wants_something_else_is_refused(monkeypatch, factory) -> None:
    monkeypatch.setattr(registry, "entry_points", Installed(needy=factory))
    with pytest.raises(SettingsError, match=r"'needy'.*\(settings, device\)"):
        made_by_name("needy")
