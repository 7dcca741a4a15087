"""The dock that denoises a map once: a layer or a file in, new layers out."""

from collections.abc import Generator
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QComboBox,
    QCompleter,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_blush.data_model.denoise_settings import DenoiseSettings
from napari_blush.errors import BlushError, SettingsError
from napari_blush.plugin.layer_grid import grid_of
from napari_blush.plugin.loading import load_in_background, run_in_background
from napari_blush.plugin.widgets.path_field import PathField, Wanted
from napari_blush.plugin.widgets.refinement_inputs import MAPS
from napari_blush.plugin.widgets.settings_form import SettingsForm
from napari_blush.plugin.worker import StepWorker

BASIC = ("denoiser", "mode", "particle_diameter", "device")
_WIDTH = 340
_BAR_STEPS = 1000


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
        self._worker: StepWorker | None = None
        self._source: dict[str, Any] = {}
        self._is_open = True
        self.layer = QComboBox()
        self.layer.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.file = PathField(Wanted.FILE, MAPS, lambda: list(viewer.layers), self)
        self.file.setToolTip("A map that is no layer yet; it is opened first")
        self.open = QPushButton("Open")
        self.form: SettingsForm[DenoiseSettings] = SettingsForm(
            DenoiseSettings, BASIC, left_out=("network_mask", "difference"), parent=self
        )
        self.start = QPushButton("Denoise")
        self.cancel = QPushButton("Cancel")
        self.bar = QProgressBar()
        self.bar.setRange(0, _BAR_STEPS)
        self.state = QLabel("Loading PyTorch…")
        self.state.setWordWrap(True)
        self._lay_out()
        self._connect()
        self._list_layers()
        self._loader = load_in_background(["denoise_job"], self._loaded, self._say)
        self._refresh()

    @property
    def is_busy(self) -> bool:
        """Whether a map is being denoised."""
        return self._worker is not None

    def press_start(self) -> None:
        """Denoise the chosen layer with the settings of the form."""
        try:
            layer = self._chosen()
            settings = self.form.value()
            attributes = {"scale": layer.scale, "units": layer.units, "translate": layer.translate}
            values = np.array(layer.data, dtype=np.float32)
            voxel_size, _ = grid_of(layer.name, values.shape, attributes)
        except BlushError as error:
            self._say(str(error))
            return
        self._source = {"name": layer.name, "blending": layer.blending, **attributes}
        self._source.update(contrast_limits=layer.contrast_limits, iso=layer.iso_threshold)
        engine = self._engine

        def steps() -> Generator[Any, None, Any]:
            return (yield from engine.denoised_layer(values, voxel_size, settings))

        self.bar.setValue(0)
        self._say(f"Denoising {layer.name}…")
        self._worker = run_in_background(steps, self._done, self._say, self._step, self._over)
        self._refresh()

    def press_cancel(self) -> None:
        """Stop within a batch of blocks; no layer is made."""
        if self._worker is not None:
            self._worker.quit()
            self._say("Cancelled.")

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Stop with the dock."""
        self._loader.quit()
        if self._worker is not None:
            self._worker.quit()
        for name in ("inserted", "removed", "reordered"):
            getattr(self._viewer.layers.events, name).disconnect(self._list_layers)
        self._is_open = False
        super().closeEvent(event)

    def _lay_out(self) -> None:
        page = QWidget()
        column = QVBoxLayout(page)
        grid = QGridLayout()
        grid.addWidget(QLabel("Layer"), 0, 0)
        grid.addWidget(self.layer, 0, 1, 1, 2)
        grid.addWidget(QLabel("or file"), 1, 0)
        grid.addWidget(self.file, 1, 1)
        grid.addWidget(self.open, 1, 2)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start)
        buttons.addWidget(self.cancel)
        column.addLayout(grid)
        column.addWidget(self.form)
        column.addLayout(buttons)
        column.addWidget(self.bar)
        column.addWidget(self.state)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        self.setMinimumWidth(_WIDTH)

    def _connect(self) -> None:
        self.start.clicked.connect(lambda: self.press_start())
        self.cancel.clicked.connect(lambda: self.press_cancel())
        self.open.clicked.connect(lambda: self._open_file())
        self.file.changed.connect(self._refresh)
        self.form.value_changed.connect(lambda _: self._refresh())
        self.layer.currentIndexChanged.connect(lambda _: self._refresh())
        for name in ("inserted", "removed", "reordered"):
            getattr(self._viewer.layers.events, name).connect(self._list_layers)

    def _list_layers(self, *_: Any) -> None:
        chosen = self.layer.currentText()
        self.layer.blockSignals(True)
        self.layer.clear()
        maps = [layer.name for layer in self._viewer.layers if _is_map(layer)]
        self.layer.addItems(maps[::-1])
        if chosen in maps:
            self.layer.setCurrentText(chosen)
        self.layer.blockSignals(False)
        self._refresh()

    def _chosen(self) -> Any:
        name = self.layer.currentText()
        for layer in self._viewer.layers:
            if layer.name == name:
                return layer
        raise SettingsError("No map is chosen; wanted an image layer; open a map first.")

    def _open_file(self) -> None:
        path = self.file.value()
        if path is None:
            return
        try:
            (layer, *_) = self._viewer.open(str(path), plugin="napari-blush")
        except Exception as error:  # noqa: BLE001  napari wraps ours in many kinds
            self._say(f"{path} cannot be opened: {error}")
            return
        self._viewer.dims.ndisplay = 3
        self.layer.setCurrentText(layer.name)

    def _loaded(self, modules: list[Any]) -> None:
        (self._engine,) = modules
        names = [weights.name for weights in self._engine.usable_weights()]
        edit = self.form.editors["denoiser"].native
        if isinstance(edit, QLineEdit):
            edit.setCompleter(QCompleter(["default", *names], edit))
        known = ", ".join(names) or "none; import some with 'napari-blush weights import'"
        edit.setToolTip(f"{edit.toolTip()}\nHere: {known}.")
        self._say("Ready.")
        self._refresh()

    def _refresh(self) -> None:
        ready = self._engine is not None and self.layer.count() > 0 and not self.form.problems()
        self.start.setEnabled(ready and not self.is_busy)
        self.cancel.setEnabled(self.is_busy)
        self.form.setEnabled(not self.is_busy)
        self.bar.setVisible(self.is_busy)
        self.open.setEnabled(self.file.value() is not None and not self.file.problem())

    def _step(self, progress: Any) -> None:
        self.bar.setValue(round(_BAR_STEPS * progress.done / max(progress.total, 1)))
        self.bar.setFormat(f"block {progress.done} of {progress.total}")

    def _done(self, found: Any) -> None:
        words = [f"Denoised on {found.device} with {found.weights.partition(',')[0]}."]
        self._say(" ".join([*words, *found.messages]))
        # In a turn of its own: nothing else may change the layers before the canvas is drawn.
        QTimer.singleShot(0, partial(self._add_layers, found))

    def _add_layers(self, found: Any) -> None:
        if not self._is_open:
            return
        source = dict(self._source)
        name, iso = source.pop("name"), source.pop("iso")
        metadata = {"weights": found.weights, "source": name}
        self._viewer.add_image(
            found.denoised,
            **{**source, "name": f"{name} · denoised, for alignment only", "iso_threshold": iso},
            rendering="iso",
            colormap="bop blue",
            metadata=metadata,
        )
        limits = self._engine.CHANGE_LIMITS
        self._viewer.add_image(
            found.change,
            **{**source, "contrast_limits": limits, "blending": "additive"},
            name=f"{name} · change (sigma)",
            colormap=self._engine.CHANGE_COLORS,
            rendering="translucent",
            visible=False,
            metadata=metadata,
        )

    def _over(self) -> None:
        self._worker = None
        self._refresh()

    def _say(self, text: str) -> None:
        self.state.setText(text)


def _is_map(layer: Any) -> bool:
    shape = getattr(layer.data, "shape", ())
    return type(layer).__name__ == "Image" and len(shape) == 3 and len(set(shape)) == 1
