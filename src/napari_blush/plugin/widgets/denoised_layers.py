"""The layers of what was denoised, and how much of it they show; needs no network for that."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_blush.plugin.difference_colormap import difference_colormap
from napari_blush.plugin.layer_looks import CHANGE_SIGMA
from napari_blush.plugin.loading import run_in_background
from napari_blush.plugin.preferences import current_preferences
from napari_blush.plugin.worker import StepWorker

Asked = tuple[float, int]
"""Strength and recycle."""

_FRAME = "#ffb000"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a map came from: its layer's name, and the attributes that its results take over."""

    name: str
    attributes: dict[str, Any]


@dataclass(slots=True, eq=False)
class _Shown:
    """A denoised map and the layers that show it; the change may have none."""

    found: Any
    denoised: Any
    change: Any | None


class DenoisedLayers:
    """Adds layers for denoised maps, and keeps them at a strength and a recycle.

    Parameters
    ----------
    viewer : napari viewer
    failed : callable
        Given a sentence.
    """

    def __init__(self, viewer: Any, failed: Callable[[str], None]) -> None:
        self._viewer, self._failed = viewer, failed
        self._shown: list[_Shown] = []
        self._preview: Any | None = None
        self._asked: Asked = (1.0, 0)
        self._blender: StepWorker | None = None
        self._is_stale = False
        self._is_open = True

    def add(self, sources: list[Source], found: Any, blends: list[Any], asked: Asked) -> None:
        """Show maps that were denoised whole, in new layers.

        Parameters
        ----------
        sources : list of Source
        found : ``denoise_job.DenoisedMaps``
        blends : list of (mixed, change)
            Blended as ``asked``, where there was time for it.
        asked : (strength, recycle)
        """
        # In a turn of its own: nothing else may change the layers before the canvas is drawn.
        QTimer.singleShot(0, partial(self._add, sources, found, blends, asked))

    def add_part(self, source: Source, found: Any) -> None:
        """Show a part, in the one layer that there is for parts."""
        QTimer.singleShot(0, partial(self._add_part, source, found))

    def ask(self, strength: float, recycle: int) -> None:
        """Take what is shown next at a strength and a recycle."""
        self._asked = (strength, recycle)

    def show(self, strength: float, recycle: int) -> None:
        """Blend what is shown anew; of many calls in a row the last counts."""
        self.ask(strength, recycle)
        if self._blender is not None:
            self._is_stale = True
            return
        self._shown = [one for one in self._shown if one.denoised in self._viewer.layers]
        if self._shown:
            steps = partial(_blends, [one.found for one in self._shown], strength, recycle)
            done = partial(self._put, list(self._shown))
            self._blender = run_in_background(steps, done, self._failed, over=self._blended)

    def leave(self) -> None:
        """End with the dock; the layers stay."""
        self._is_open = False
        self._shown = []

    def _add(self, sources: list[Source], found: Any, blends: list[Any], asked: Asked) -> None:
        if not self._is_open:
            return
        self._shown = [one for one in self._shown if one.denoised is self._preview]
        if self._preview is not None and self._preview in self._viewer.layers:
            self._preview.visible = False
        colors = difference_colormap(current_preferences().difference_color)
        each = zip(sources, found.maps, blends, strict=True)
        for number, (source, one, (mixed, change)) in enumerate(each):
            metadata = {"weights": found.weights, "source": source.name}
            denoised = self._viewer.add_image(
                mixed,
                **source.attributes,
                name=f"denoised, for alignment only · {source.name}",
                rendering="iso",
                colormap="bop blue",
                visible=number == 0,  # two contours would hide one another
                metadata=dict(metadata),
            )
            different = self._viewer.add_image(
                change,
                **{
                    **source.attributes,
                    "contrast_limits": (-CHANGE_SIGMA, CHANGE_SIGMA),
                    "blending": "translucent_no_depth",
                    "iso_threshold": CHANGE_SIGMA / 2,
                },
                name=f"change (sigma) · {source.name}",
                colormap=colors,
                rendering="translucent",
                visible=False,
                metadata=dict(metadata),
            )
            self._shown.append(_Shown(one, denoised, different))
        if asked != self._asked:
            self.show(*self._asked)

    def _add_part(self, source: Source, found: Any) -> None:
        if not self._is_open:
            return
        (one,) = found.maps
        mixed, _ = one.blended(*self._asked)
        scale = np.asarray(source.attributes["scale"])
        place = np.asarray(source.attributes["translate"]) + scale * np.asarray(found.start)
        attributes = {**source.attributes, "translate": place}
        layer = self._preview if self._preview in self._viewer.layers else None
        if layer is None:
            layer = self._preview = self._viewer.add_image(
                mixed, **attributes, name="preview", rendering="iso"
            )
            layer.bounding_box.visible = True
            layer.bounding_box.line_color = _FRAME
            layer.bounding_box.points = False
        else:
            layer.data = mixed
            for name in ("scale", "translate", "contrast_limits", "iso_threshold"):
                setattr(layer, name, attributes[name])
        # In a slice it is compared with the greys around it.
        layer.colormap = "gray" if self._viewer.dims.ndisplay == 2 else "bop blue"
        layer.metadata.update(weights=found.weights, source=source.name)
        self._shown = [shown for shown in self._shown if shown.denoised is not layer]
        self._shown.append(_Shown(one, layer, None))

    def _put(self, shown: list[_Shown], blends: list[Any]) -> None:
        for one, (mixed, change) in zip(shown, blends, strict=True):
            if one not in self._shown:
                continue  # something newer is in its layer
            for layer, values in ((one.denoised, mixed), (one.change, change)):
                if layer is not None and layer in self._viewer.layers:
                    layer.data = values

    def _blended(self) -> None:
        self._blender = None
        if self._is_stale and self._is_open:
            self._is_stale = False
            self.show(*self._asked)


def _blends(
    found: list[Any], strength: float, recycle: int
) -> Generator[None, None, list[tuple[Any, Any]]]:
    yield
    return [one.blended(strength, recycle) for one in found]
