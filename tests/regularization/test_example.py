"""The example of a foreign regularizer is found as if installed, works, and is in the docs."""

import re
import tomllib
from pathlib import Path

import pytest
import torch

from napari_blush.data_model.settings import RefinementSettings
from napari_blush.numerics.correlation import resolution_shell
from napari_blush.numerics.filters import low_pass_at_shell
from napari_blush.regularization.guard import regularized
from napari_blush.regularization.registry import make_regularizer
from napari_blush.regularization.regularizer import origin

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "cautious_regularizer"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the example and the metadata that its installation would leave on the path."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "cautious_regularizer-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (group,) = project["entry-points"]
    lines = [f"{name} = {value}" for name, value in project["entry-points"][group].items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLE))


def test_the_example_is_found_by_its_entry_point_and_works(installed, pair, drain) -> None:
    settings = RefinementSettings(regularizer="cautious")
    regularizer = make_regularizer(settings, torch.device("cpu"))
    assert type(regularizer).__name__ == "CautiousRegularizer"
    assert origin(regularizer) == "cautious (FSC above 0.5)"
    progress, made = drain(regularized(regularizer, pair.given))
    assert [step.what for step in progress] == ["filtering half 1", "filtering half 2"]
    shell = resolution_shell(pair.given.fsc, 0.5)
    assert made.cutoff_shell == shell > 5
    wiener = pair.given.wiener
    for reference, half in zip(made.references, (wiener.half1, wiener.half2), strict=True):
        assert torch.equal(reference, low_pass_at_shell(half, shell))


def test_without_installing_it_the_name_is_not_known() -> None:
    with pytest.raises(Exception, match="'cautious' is not known"):
        make_regularizer(RefinementSettings(regularizer="cautious"), torch.device("cpu"))


def test_the_documents_show_the_example_as_it_is() -> None:
    text = (REPOSITORY / "docs" / "regularizers.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert code == (EXAMPLE / "cautious_regularizer.py").read_text()
    (table,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert table in (EXAMPLE / "pyproject.toml").read_text()
