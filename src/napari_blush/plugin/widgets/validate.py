"""The dock that judges a pair of half-maps: one button for each judgment."""

import re
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

from napari.utils.theme import get_theme  # type: ignore[import-untyped]
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_blush.errors import BlushError, SettingsError
from napari_blush.plugin.loading import load_in_background
from napari_blush.plugin.plots.named_curves import NamedCurves
from napari_blush.plugin.preferences import current_preferences
from napari_blush.plugin.widgets.farewell import Farewell
from napari_blush.plugin.widgets.job_bar import JobBar
from napari_blush.plugin.widgets.labelled_slider import LabelledSlider
from napari_blush.plugin.widgets.layer_choice import LayerChoice, common_grid, is_map
from napari_blush.plugin.widgets.path_field import PathField, Wanted
from napari_blush.plugin.widgets.scrolled import in_scroll_area
from napari_blush.plugin.widgets.tabbed import Tabbed
from napari_blush.plugin.widgets.validation_layers import (
    FILTERED,
    LOCAL,
    ValidationLayers,
)
from napari_blush.plugin.widgets.verdict import Verdict
from napari_blush.plugin.widgets.weights_choice import WeightsChoice

MODELS = "Atomic models (*.pdb *.cif *.ent *.pdb.gz *.cif.gz *.ent.gz)"
_FIRST_HALF = re.compile(r"(half[\s_-]*(?:map)?[\s_-]*)1(?!\d)", re.IGNORECASE)
_DUST_VOXELS = 5
_REDRAW_AFTER_MS = 250
_CONTOURS = (1, 50, 10)
"""Tenths of a per cent of the voxels that a surface encloses: least, most, first."""


class ValidateWidget(QWidget):
    """The *Validate* dock.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        napari goes by this name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer = napari_viewer
        self._engine: Any = None
        self._surfaces: Any = None
        self._job: Any = None
        self._layers: ValidationLayers | None = None
        self._first: Any = None
        self._local: Any = None
        self._waiting, self._has_left = "", False
        self.half1 = LayerChoice(viewer.layers, is_map)
        self.half2 = LayerChoice(viewer.layers, is_map)
        self.mask_layer = LayerChoice(viewer.layers, is_map, nothing="automatic")
        self.model = PathField(Wanted.FILE, MODELS, parent=self)
        self.run = PathField(Wanted.FOLDER, parent=self)
        self.weights = WeightsChoice(self)
        self._make_buttons()
        self.jobs = JobBar(lambda step: (step.fraction, step.words), self)
        self.verdict = Verdict(self)
        self.plot = NamedCurves(self)
        self.plot.hide()
        self.contour = LabelledSlider("Contour", *_CONTOURS, "{} ‰", self)
        self.dust = QDoubleSpinBox()
        self._surface_page = QWidget()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_REDRAW_AFTER_MS)
        self._lay_out()
        self._connect()
        self._use_theme()
        self._choose_pair()
        self.jobs.say("Loading PyTorch…")
        modules = ["validation_job", "local_resolution_surface"]
        self._loader = load_in_background(modules, self._loaded, self.jobs.say)
        self._tabbed = Tabbed(self)
        self._farewell = Farewell(self, lambda: True, self.leave, self._let_go)
        self._refresh()

    @property
    def is_busy(self) -> bool:
        """Whether something is being judged."""
        return self.jobs.is_busy

    def judge(self, what: str, *arguments: Any) -> None:
        """Run a judgment of ``ValidationJob`` by its name, and show what it finds."""
        job, layers = self._current_job(), self._layers
        if job is None or layers is None:
            return

        def steps() -> Generator[Any, None, Any]:
            return (yield from getattr(job, what)(*arguments))

        self.jobs.start(steps, partial(self._show, layers), "Working…")

    def judge_when_loaded(self, what: str) -> None:
        """Run a judgment as soon as it can be, where two half-maps are chosen."""
        self._waiting = what
        self._judge_what_waits()

    def press_model(self) -> None:
        """Compare with the atomic model that is entered."""
        path = self.model.value()
        if path is not None:
            self.judge("against_model", path)

    def press_poses(self) -> None:
        """Judge the poses of the run folder that is entered; half-maps are not needed."""
        folder = self.run.value()
        if folder is not None and self._engine is not None:
            steps = partial(self._engine.poses_steps, folder)
            self.jobs.start(steps, self._show_section, "Reading poses…")

    def press_report(self) -> None:
        """Ask where, and write one page of all judgments."""
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the report", "validation.html", "Web page (*.html)"
        )
        if chosen:
            self.write_report(Path(chosen))

    def write_report(self, target: Path) -> None:
        """Write one page of all judgments; what was not found yet is found first."""
        job = self._current_job()
        if job is None:
            return
        model = self.model.value()

        def steps() -> Generator[Any, None, Any]:
            return (yield from job.report(target, model))

        self.jobs.start(steps, lambda path: self.jobs.say(f"Wrote {path}."), "Judging all…")

    def redraw_surface(self) -> None:
        """Draw the surface at the contour that is set, without what is dust."""
        finding, layers, engine = self._local, self._layers, self._surfaces
        if finding is None or layers is None:
            return
        if self.is_busy:
            self._soon.start()
            return
        given = self._job.given
        fraction, dust = self.contour.value() / 1000, self.dust.value()

        def steps() -> Generator[Any, None, Any]:
            yield self._engine.Step(0.2, "surface")
            filtered = finding.maps[FILTERED]
            return engine.colored_surface(
                filtered,
                finding.maps[LOCAL],
                engine.level_enclosing(filtered, fraction),
                given.voxel_size,
                origin=given.origin,
                dust_angstrom=dust,
            )

        self.jobs.start(steps, partial(self._show_surface, layers), "Drawing the surface…")

    def leave(self) -> None:
        """Stop with the dock; the layers stay."""
        self._loader.quit()
        self.jobs.press_cancel()
        self._let_go()

    def _let_go(self) -> None:
        """Hear no more of the viewer, and free what was found."""
        self._job = self._local = self._layers = None
        for choice in (self.half1, self.half2, self.mask_layer):
            choice.leave()
        if not self._has_left:
            self._has_left = True
            self._viewer.events.theme.disconnect(self._use_theme)

    def _current_job(self) -> Any | None:
        """Return the job of what is chosen, the last one where it is the same."""
        try:
            first, second = self.half1.wanted_layer("half 1"), self.half2.wanted_layer("half 2")
            if first is second:
                raise SettingsError(
                    f"{first.name!r} was chosen as both halves; wanted two half-maps that were "
                    "refined apart; choose the other one."
                )
            mask = self.mask_layer.layer()
            voxel, origin = common_grid([first, second, *([] if mask is None else [mask])])
        except BlushError as error:
            self.jobs.say(str(error))
            return None
        masked = None if mask is None else mask.data
        given = self._engine.HalfMapLayers(first.data, second.data, masked, voxel, origin)
        if self._job is None or not _is_same(self._job.given, given):
            self._job = self._engine.ValidationJob(given, current_preferences().device)
            self._layers = ValidationLayers(self._viewer, first)
            self._local = None
            self.dust.setValue(_DUST_VOXELS * voxel)
        return self._job

    def _show_section(self, finding: Any) -> None:
        section = finding.section
        self.jobs.say("")
        self.verdict.show_checks(section.title, section.checks, section.notes)
        self.plot.setVisible(finding.curves is not None)

    def _show(self, layers: ValidationLayers, finding: Any) -> None:
        self._show_section(finding)
        curves = finding.curves
        if curves is not None:
            self.plot.show_curves(
                curves.curves,
                curves.voxel_size,
                dashed=curves.dashed,
                levels=curves.levels,
                marks=curves.marks,
            )
        if finding.maps:
            layers.show_maps(finding.maps, finding.limits)
        if finding.limits is not None and layers is self._layers:
            self._local = finding
            self._soon.start()

    def _show_surface(self, layers: ValidationLayers, found: Any) -> None:
        low, high = layers.show_surface(found)
        hidden = f" {found.n_hidden} blobs of dust are hidden." if found.n_hidden else ""
        self.jobs.say(f"Colors from {low:.1f} Å (blue) to {high:.1f} Å (red).{hidden}")

    def _make_buttons(self) -> None:
        self.resolution = QPushButton("Resolution")
        self.randomization = QPushButton("Phase randomization")
        self.steadiness = QPushButton("Denoiser steadiness")
        self.local = QPushButton("Local resolution")
        self.directional = QPushButton("Directional FSC")
        self.against_model = QPushButton("Map against model")
        self.poses = QPushButton("Views and poses")
        self.report = QPushButton("Report…")

    def _lay_out(self) -> None:
        page = QWidget()
        column = QVBoxLayout(page)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        rows: list[tuple[str, QWidget, str]] = [
            ("Half 1", self.half1, "Unfiltered half-map"),
            ("Half 2", self.half2, "The other half-map, refined apart"),
            ("Mask", self.mask_layer, "In [0, 1]; automatic: drawn around the map"),
            ("Atomic model", self.model, "PDB or mmCIF, fitted in the map; for two of the buttons"),
            ("Run folder", self.run, "Of a refinement; for views and poses"),
            ("Weights", self.weights, "Of the denoiser; for phase randomization and steadiness"),
        ]
        for row, (text, widget, tip) in enumerate(rows):
            label = QLabel(text)
            for each in (label, widget):
                each.setToolTip(tip)
            grid.addWidget(label, row, 0)
            grid.addWidget(widget, row, 1)
        buttons = QGridLayout()
        for number, (button, tip) in enumerate(self._tips().items()):
            button.setToolTip(tip)
            buttons.addWidget(button, number // 2, number % 2)
        dust = QHBoxLayout()
        dust.addWidget(QLabel("Hide dust shorter than"))
        dust.addWidget(self.dust)
        self.dust.setRange(0, 1000)
        self.dust.setDecimals(0)
        self.dust.setSuffix(" Å")
        self.contour.setToolTip("Voxels that the surface encloses, of a thousand")
        surface = QVBoxLayout(self._surface_page)
        surface.setContentsMargins(0, 0, 0, 0)
        surface.addWidget(self.contour)
        surface.addLayout(dust)
        for part in (grid, buttons):
            column.addLayout(part)
        for widget in (self.jobs, self._surface_page, self.plot, self.verdict):
            column.addWidget(widget)
        column.addStretch()
        in_scroll_area(self, page)

    def _tips(self) -> dict[QPushButton, str]:
        return {
            self.resolution: "FSC with and without the mask, and whether the mask helped",
            self.randomization: "What mask and denoiser make of random phases",
            self.steadiness: "A dozen maps: denoised again and again, and turned and mirrored",
            self.local: "Resolution at every place, and a surface coloured by it",
            self.directional: "Whether the resolution is the same along all directions",
            self.against_model: "Whether an atomic model confirms the map",
            self.poses: "From where the particle was seen, and how sure its poses are",
            self.report: "All of it on one page; what was not looked at yet is looked at first",
        }

    def _connect(self) -> None:
        self.resolution.clicked.connect(lambda: self.judge("resolution"))
        self.randomization.clicked.connect(
            lambda: self.judge("randomization", self.weights.value())
        )
        self.steadiness.clicked.connect(lambda: self.judge("steadiness", self.weights.value()))
        self.local.clicked.connect(lambda: self.judge("local"))
        self.directional.clicked.connect(lambda: self.judge("directional"))
        self.against_model.clicked.connect(lambda: self.press_model())
        self.poses.clicked.connect(lambda: self.press_poses())
        self.report.clicked.connect(lambda: self.press_report())
        self.half1.changed.connect(self._choose_pair)
        for choice in (self.half1, self.half2):
            choice.changed.connect(self._refresh)
        for field in (self.model, self.run):
            field.changed.connect(self._refresh)
        self.jobs.changed.connect(self._refresh)
        self._soon.timeout.connect(lambda: self.redraw_surface())
        self.contour.changed.connect(lambda: self._soon.start())
        self.dust.valueChanged.connect(lambda _: self._soon.start())
        self._viewer.events.theme.connect(self._use_theme)

    def _choose_pair(self) -> None:
        """Choose the other half of a half-map that was just chosen, by its name."""
        offered, first = self.half1.offered(), self.half1.layer()
        if self._first not in offered and _other_half(first, offered) is None:
            # Nobody has chosen yet: the topmost layer is half of nothing.
            pairs = (layer for layer in offered if _other_half(layer, offered) is not None)
            first = next(pairs, first)
        if first is self._first and self.half2.layer() is not first:
            return
        self._first = first
        self.half1.choose(first)
        other = _other_half(first, offered)
        if other is not None:
            self.half2.choose(other)

    def _loaded(self, modules: list[Any]) -> None:
        self._engine, self._surfaces = modules
        self.weights.offer([weights.name for weights in self._engine.usable_weights()])
        self.jobs.say("Ready.")
        self._refresh()
        self._judge_what_waits()

    def _judge_what_waits(self) -> None:
        if self._engine is None or self.is_busy or not self._waiting:
            return
        what, self._waiting = self._waiting, ""
        self.judge(what)

    def _refresh(self) -> None:
        is_free = self._engine is not None and not self.is_busy
        is_ready = is_free and None not in (self.half1.layer(), self.half2.layer())
        for button in self._tips():
            button.setEnabled(is_ready)
        has_model = self.model.value() is not None and not self.model.problem()
        self.against_model.setEnabled(is_ready and has_model)
        self.poses.setEnabled(is_free and self.run.value() is not None and not self.run.problem())
        self._surface_page.setVisible(self._local is not None)
        self._surface_page.setEnabled(not self.is_busy)

    def _use_theme(self, *_: Any) -> None:
        theme = get_theme(self._viewer.theme)
        self.plot.set_colors(theme.text.as_hex(), theme.background.as_hex())


def _other_half(layer: Any | None, offered: list[Any]) -> Any | None:
    """Return the layer that is called like the other half."""
    if layer is None or not _FIRST_HALF.search(layer.name):
        return None
    name = _FIRST_HALF.sub(r"\g<1>2", layer.name)
    return next((other for other in offered if other.name == name), None)


def _is_same(before: Any, now: Any) -> bool:
    arrays = (before.half1, before.half2, before.mask), (now.half1, now.half2, now.mask)
    same_grid = (before.voxel_size, before.origin) == (now.voxel_size, now.origin)
    return same_grid and all(a is b for a, b in zip(*arrays, strict=True))
