"""The dock that denoises a map, or two half-maps, once: layers in, new layers out."""

from collections.abc import Generator, Sequence
from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_blush.data_model.denoise_settings import DenoiseSettings
from napari_blush.errors import BlushError
from napari_blush.plugin.loading import load_in_background
from napari_blush.plugin.preferences import current_preferences
from napari_blush.plugin.widgets.denoised_layers import DenoisedLayers, Source
from napari_blush.plugin.widgets.farewell import Farewell
from napari_blush.plugin.widgets.job_bar import JobBar
from napari_blush.plugin.widgets.labelled_slider import LabelledSlider
from napari_blush.plugin.widgets.layer_choice import LayerChoice, common_grid, is_map
from napari_blush.plugin.widgets.path_field import PathField, Wanted
from napari_blush.plugin.widgets.refinement_inputs import MAPS
from napari_blush.plugin.widgets.scrolled import in_scroll_area
from napari_blush.plugin.widgets.settings_form import SettingsForm
from napari_blush.plugin.widgets.tabbed import Tabbed
from napari_blush.plugin.widgets.weights_choice import WeightsChoice

BASIC = ("mode", "particle_diameter", "device")
ASKED_ELSEWHERE = ("denoiser", "mask", "voxel_size", "network_mask", "difference", "threads")
MOST_RECYCLES = 5
"""As many as the network was trained for."""

_KEPT = ("scale", "units", "translate", "contrast_limits", "iso_threshold", "blending")


class DenoiseWidget(QWidget):
    """The *Denoise* dock.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        napari goes by this name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer = napari_viewer
        self._engine: Any = None
        self._job: Any = None
        self._on_click = self._clicked  # one and the same, to be taken out again
        self.layer = LayerChoice(viewer.layers, is_map)
        self.other_half = LayerChoice(viewer.layers, is_map, nothing="none")
        self.mask_layer = LayerChoice(viewer.layers, is_map, nothing="sphere")
        self.file = PathField(Wanted.FILE, MAPS, lambda: list(viewer.layers), parent=self)
        self.open = QPushButton("Open")
        self.weights = WeightsChoice(self)
        self.recycles = QSpinBox()
        self.recycles.setRange(0, MOST_RECYCLES)
        self.trailing = QCheckBox("Cut off where the halves stop to agree")
        chosen = current_preferences()
        self.form: SettingsForm[DenoiseSettings] = SettingsForm(
            DenoiseSettings,
            BASIC,
            left_out=ASKED_ELSEWHERE,
            defaults=DenoiseSettings(**chosen.settings, batch_size=chosen.denoise_batch),
            parent=self,
        )
        self.preview = QPushButton("Preview")
        self.start = QPushButton("Denoise")
        self.jobs = JobBar(_in_words, self)
        self.strength = LabelledSlider("Strength", 0, 100, 100, "{} %", self)
        self.recycle = LabelledSlider("Recycle", 0, 0, 0, "{}", self)
        self.made = DenoisedLayers(viewer, self.jobs.say)
        self._set_up()
        self._lay_out()
        self._connect()
        self.jobs.say("Loading PyTorch…")
        self._loader = load_in_background(["denoise_job"], self._loaded, self.jobs.say)
        self._tabbed = Tabbed(self)
        self._farewell = Farewell(self, lambda: True, self.leave, self._let_go)
        self._refresh()

    @property
    def is_busy(self) -> bool:
        """Whether a map is being denoised."""
        return self.jobs.is_busy

    def press_start(self) -> None:
        """Denoise the chosen maps into new layers."""
        asked = self._asked()
        if asked is None:
            return
        sources, request = asked
        job = self._engine.DenoiseJob(request)
        self.recycle.set_most(request.n_recycles, request.n_recycles)
        shown = self._shown()

        def steps() -> Generator[Any, None, Any]:
            found = yield from job.whole()
            return found, [one.blended(*shown) for one in found.maps]

        def done(result: Any) -> None:
            found, blends = result
            self.jobs.say(_summary("Denoised", found))
            self.made.ask(*self._shown())  # what is set by now
            self.made.add(sources, found, blends, shown)

        self.jobs.start(steps, done, f"Denoising {' and '.join(s.name for s in sources)}…")

    def press_preview(self, at: Sequence[float] | None = None) -> None:
        """Denoise a small box with few blocks, once.

        Parameters
        ----------
        at : sequence of float, optional
            Its middle, in the coordinates of the viewer; default: the middle of the view.
        """
        asked = self._asked()
        if asked is None:
            return
        sources, request = asked
        if self._job is None or not _is_same(self._job.request, request):
            self._job = self._engine.DenoiseJob(request)
        job, center = self._job, self._voxel_at(self._middle_of_view() if at is None else at)

        def steps() -> Generator[Any, None, Any]:
            return (yield from job.preview(center))

        def done(found: Any) -> None:
            self.jobs.say(_summary("Preview", found))
            self.made.ask(*self._shown())
            self.made.add_part(sources[0], found)

        self.jobs.start(steps, done, "Denoising a small box…")

    def press_cancel(self) -> None:
        """Stop within a batch of blocks; no layer is made."""
        self.jobs.press_cancel()

    def leave(self) -> None:
        """Stop with the dock; the layers stay."""
        self._loader.quit()
        self.jobs.press_cancel()
        self._let_go()

    def _let_go(self) -> None:
        """Hear no more of the viewer, and free what was kept for a second look."""
        self._job = None
        self.made.leave()
        if self._on_click in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_click)
        for choice in (self.layer, self.other_half, self.mask_layer):
            choice.leave()

    def _asked(self) -> tuple[list[Source], Any] | None:
        """Return the chosen maps and what is asked of them; say what is wrong with None."""
        try:
            layers = [self.layer.wanted_layer("map")]
            other, mask = self.other_half.layer(), self.mask_layer.layer()
            if other is not None and other is not layers[0]:
                layers.append(other)
            voxel_size, _ = common_grid([*layers, *([] if mask is None else [mask])])
            settings = self.form.value().model_copy(update={"denoiser": self.weights.value()})
        except BlushError as error:
            self.jobs.say(str(error))
            return None
        request = self._engine.DenoiseRequest(
            tuple(layer.data for layer in layers),
            voxel_size,
            settings,
            mask=None if mask is None else mask.data,
            n_recycles=self.recycles.value(),
            trailing=self.trailing.isChecked() and len(layers) > 1,
        )
        sources = [
            Source(layer.name, {name: getattr(layer, name) for name in _KEPT}) for layer in layers
        ]
        return sources, request

    def _middle_of_view(self) -> list[float]:
        """Return what is shown in the middle of the canvas, in the coordinates of the viewer."""
        dims = self._viewer.dims
        at = list(dims.point)
        center = self._viewer.scene.camera.center[-dims.ndisplay :]
        for axis, value in zip(dims.displayed, center, strict=True):
            at[axis] = value
        return at

    def _voxel_at(self, at: Sequence[float]) -> tuple[float, float, float]:
        """Return the voxel of the map at coordinates of the viewer."""
        layer = self.layer.wanted_layer("map")
        z, y, x = (float(place) for place in layer.world_to_data(tuple(at))[-3:])
        return z, y, x

    def _clicked(self, _: Any, event: Any) -> None:
        """Preview where a slice is clicked with Alt."""
        if "Alt" in event.modifiers and self._viewer.dims.ndisplay == 2:
            if self.preview.isEnabled():
                self.press_preview(event.position)
            event.handled = True

    def _set_up(self) -> None:
        tips = {
            self.other_half: "The other half-map: it is denoised too, and tells where to cut off",
            self.mask_layer: "Where there is something; default: the sphere of the particle",
            self.file: "A map that is no layer yet; it is opened first",
            self.recycles: "How often the denoised map is denoised again; all are kept",
            self.trailing: "Spectral trailing, from the FSC of the two halves without a mask",
            self.preview: "Denoise a small box, once: in the middle of the view, or where a slice "
            "is clicked with Alt",
            self.strength: "Between the map as it came and denoised; acts on what was made last",
            self.recycle: "Which of the recycled maps is shown",
        }
        for widget, tip in tips.items():
            widget.setToolTip(tip)

    def _lay_out(self) -> None:
        page = QWidget()
        column = QVBoxLayout(page)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        rows: list[tuple[str, QWidget]] = [
            ("Map", self.layer),
            ("Other half", self.other_half),
            ("Mask", self.mask_layer),
            ("Weights", self.weights),
            ("Recycles", self.recycles),
        ]
        for row, (text, widget) in enumerate(rows):
            grid.addWidget(QLabel(text), row, 0)
            grid.addWidget(widget, row, 1, 1, 2)
        grid.addWidget(QLabel("Open a file"), len(rows), 0)
        grid.addWidget(self.file, len(rows), 1)
        grid.addWidget(self.open, len(rows), 2)
        buttons = QHBoxLayout()
        buttons.addWidget(self.preview)
        buttons.addWidget(self.start)
        column.addLayout(grid)
        column.addWidget(self.trailing)
        column.addWidget(self.form)
        column.addLayout(buttons)
        column.addWidget(self.jobs)
        column.addWidget(self.strength)
        column.addWidget(self.recycle)
        column.addStretch()
        in_scroll_area(self, page)

    def _connect(self) -> None:
        self.preview.clicked.connect(lambda: self.press_preview())
        self.start.clicked.connect(lambda: self.press_start())
        self.open.clicked.connect(lambda: self._open_file())
        self.file.changed.connect(self._refresh)
        self.form.value_changed.connect(lambda _: self._refresh())
        self.jobs.changed.connect(self._refresh)
        self._viewer.mouse_drag_callbacks.append(self._on_click)
        for choice in (self.layer, self.other_half):
            choice.changed.connect(self._refresh)
        for slider in (self.strength, self.recycle):
            slider.changed.connect(lambda: self.made.show(*self._shown()))

    def _shown(self) -> tuple[float, int]:
        return self.strength.value() / 100, self.recycle.value()

    def _open_file(self) -> None:
        path = self.file.value()
        if path is None:
            return
        try:
            (layer, *_) = self._viewer.open(str(path), plugin="napari-blush")
        except Exception as error:  # noqa: BLE001  napari wraps ours in many kinds
            self.jobs.say(f"{path} cannot be opened: {error}")
            return
        self._viewer.dims.ndisplay = 3
        self.layer.choose(layer)

    def _loaded(self, modules: list[Any]) -> None:
        (self._engine,) = modules
        self.weights.offer([weights.name for weights in self._engine.usable_weights()])
        self.jobs.say("Ready.")
        self._refresh()

    def _refresh(self) -> None:
        is_ready = self._engine is not None and self.layer.layer() is not None
        is_ready = is_ready and not self.form.problems() and not self.is_busy
        for button in (self.start, self.preview):
            button.setEnabled(is_ready)
        for widget in (self.form, self.weights, self.recycles):
            widget.setEnabled(not self.is_busy)
        other = self.other_half.layer()
        self.trailing.setEnabled(other is not None and other is not self.layer.layer())
        self.open.setEnabled(self.file.value() is not None and not self.file.problem())


def _is_same(before: Any, now: Any) -> bool:
    """Return whether a job that was made ready for one request serves another."""
    arrays = (*before.maps, before.mask), (*now.maps, now.mask)
    return (
        len(arrays[0]) == len(arrays[1])
        and all(a is b for a, b in zip(*arrays, strict=True))
        and (before.voxel_size, before.settings, before.trailing)
        == (now.voxel_size, now.settings, now.trailing)
    )


def _in_words(progress: Any) -> tuple[float, str]:
    fraction = progress.done / max(progress.total, 1)
    return fraction, f"block {progress.done} of {progress.total}" if progress.total > 1 else ""


def _summary(what: str, found: Any) -> str:
    where = "the CPU" if found.device == "cpu" else found.device
    weights = found.weights.partition(" ")[0]
    words = f"{what} in {found.seconds:.1f} s on {where}, weights {weights}."
    return " ".join([words, *found.messages])
