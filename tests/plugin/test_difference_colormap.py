"""Colours of a change: clear where nothing was changed, whatever the theme."""

import numpy as np
import pytest

from napari_blush.plugin.difference_colormap import difference_colormap
from napari_blush.plugin.preferences import DIFFERENCE_COLORS


@pytest.mark.parametrize("name", DIFFERENCE_COLORS)
def test_no_change_is_clear_and_large_ones_are_opaque(name: str) -> None:
    found = difference_colormap(name).map(np.array([0.0, 0.4, 0.5, 0.6, 1.0]))
    assert np.allclose(found[:, 3], [1.0, 0.08, 0.0, 0.08, 1.0], atol=1e-3)
    less, more = DIFFERENCE_COLORS[name]
    assert np.allclose(found[0, :3], less)
    assert np.allclose(found[-1, :3], more)
