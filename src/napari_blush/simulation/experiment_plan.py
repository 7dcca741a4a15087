"""One simulated experiment in numbers: what was imaged, how well, and how far it was resolved."""

from dataclasses import dataclass
from math import exp, log
from typing import Literal, TypeVar

import torch
from torch import Tensor

from napari_blush.data_model.experiment_settings import ExperimentSettings
from napari_blush.simulation.assemblies import GridSymmetry
from napari_blush.simulation.view_weights import ViewKind, ViewPlan

Surroundings = Literal["none", "micelle", "blobs"]

_Choice = TypeVar("_Choice", bound=str)

_FULLEST = 0.74  # of the box that a particle may fill
_BOXES = (48, 56, 64, 72, 80, 96)
_SEARCH_SHELLS = 10  # that a refinement looks beyond its resolution


@dataclass(frozen=True, slots=True)
class NoiseColor:
    r"""Power of the images' noise: :math:`f + t / (1 + (40 k)^2) + s \exp(-(6 k)^2 / 2)`.

    A white floor, the thick structure of ice and carbon at 40 A and more, and the shoulder of
    liquid water, with ``k`` in 1/angstrom.
    """

    floor: float = 0.3
    thick: float = 3.0
    shoulder: float = 0.7

    def power(self, frequency: Tensor) -> Tensor:
        """Evaluate at spatial frequencies in 1/angstrom."""
        thick = self.thick / (1 + (40 * frequency) ** 2)
        return self.floor + thick + self.shoulder * torch.exp(-((6 * frequency) ** 2) / 2)


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """One experiment.

    Parameters
    ----------
    box_size : int
        Even.
    voxel_size : float
        Angstrom.
    resolution : float
        Angstrom; where the FSC between the halves is meant to fall to 0.143.
    r_max : int
        Shell up to which the halves were reconstructed; nothing beyond.
    views : ViewPlan
    color : NoiseColor
    b_factor : float
        Angstrom squared, of the best-ordered atoms.
    b_spread : float
        Factor of the structure's own differences of B-factors.
    angle_error_deg, shift_error : float
        Standard deviations of the poses' errors, degrees and angstrom.
    missing_radius, flexible_radius : float
        Angstrom, of a domain that is absent and of one that is blurred; 0 for none.
    flexible_b_factor : float
        Added in the blurred domain.
    surroundings : {"none", "micelle", "blobs"}
    surroundings_contrast : float
        Density of the surroundings by the mean density of the molecule.
    surroundings_resolution : float
        Angstrom.
    off_center : float
        Angstrom, standard deviation along each axis of where the particle sits.
    join_resolution : float
        Angstrom; coarser than this the two halves share one map.
    mask_extension, mask_edge : float
        Angstrom, of the mask of the ordered molecule.
    symmetry : {"C1", "C2", "C4", "D2", "D4"}
        Of the reconstruction; the specimen must have it.
    excess_noise : float
        Amplitude of the noise in the middle of the particle beyond that of the solvent, by it:
        what the aligning of images to noise brings there.
    finer : bool
        Whether the images had pixels finer than these voxels, so that the corners of the
        transform are not empty.
    """

    box_size: int
    voxel_size: float
    resolution: float
    r_max: int
    views: ViewPlan
    color: NoiseColor = NoiseColor()
    b_factor: float = 60.0
    b_spread: float = 1.0
    angle_error_deg: float = 0.0
    shift_error: float = 0.0
    missing_radius: float = 0.0
    flexible_radius: float = 0.0
    flexible_b_factor: float = 0.0
    surroundings: Surroundings = "none"
    surroundings_contrast: float = 0.5
    surroundings_resolution: float = 18.0
    off_center: float = 0.0
    join_resolution: float = 40.0
    mask_extension: float = 5.0
    mask_edge: float = 6.0
    symmetry: GridSymmetry = "C1"
    excess_noise: float = 0.0
    finer: bool = False


def box_for(diameter: float, settings: ExperimentSettings) -> int | None:
    """Return the least box that leaves room round a particle, None where it takes too large a one.

    Parameters
    ----------
    diameter : float
        Angstrom.
    settings : ExperimentSettings
    """
    return min(_fitting_boxes(diameter, settings), default=None)


def _fitting_boxes(diameter: float, settings: ExperimentSettings) -> list[int]:
    wanted = diameter / settings.voxel_size / _FULLEST
    least, largest = settings.box_size, settings.largest_box
    boxes = {least, largest, *_BOXES}
    return sorted(box for box in boxes if max(least, wanted) <= box <= largest)


def draw_symmetry(generator: torch.Generator) -> GridSymmetry:
    """Draw a point group; two thirds have none."""
    shares: dict[GridSymmetry, float] = {"C1": 0.66, "C2": 0.14, "C4": 0.08, "D2": 0.1, "D4": 0.02}
    return _Draw(generator).one_of(shares)


def draw_plan(
    diameter: float,
    settings: ExperimentSettings,
    generator: torch.Generator,
    symmetry: GridSymmetry = "C1",
) -> ExperimentPlan:
    """Draw an experiment on a particle of this diameter (angstrom) and symmetry.

    Resolutions are drawn evenly on a logarithmic scale, or as evenly in frequency; views from a
    hundred to several thousand; a fourth of the experiments have preferred views.
    """
    draw = _Draw(generator)
    boxes = _fitting_boxes(diameter, settings) or [settings.box_size]
    box_size = boxes[1] if len(boxes) > 1 and draw.happens(0.4) else boxes[0]
    length = box_size * settings.voxel_size
    fine = max(settings.resolution_finest, 2 * settings.voxel_size)
    coarse = max(settings.resolution_coarsest, fine)
    resolution = draw.logarithmic(fine, coarse)
    if draw.happens(0.4):
        resolution = 1 / draw.between(1 / coarse, 1 / fine)
    shell, nyquist = length / resolution, box_size // 2
    r_max = nyquist
    if draw.happens(0.6):
        r_max = min(nyquist, round(shell) + round(draw.between(3, 1.5 * _SEARCH_SHELLS)))
    surroundings: dict[Surroundings, float] = {"none": 0.62, "micelle": 0.2, "blobs": 0.18}
    missing = 0.25 if symmetry == "C1" else 0.0  # of one copy: the others would have it still
    return ExperimentPlan(
        box_size=box_size,
        voxel_size=settings.voxel_size,
        resolution=resolution,
        r_max=r_max,
        views=_draw_view_plan(draw),
        color=NoiseColor(draw.between(0.2, 0.6), draw.between(0, 6), draw.between(0.2, 1.2)),
        b_factor=draw.logarithmic(40, 350),
        b_spread=draw.between(0.5, 3.0),
        angle_error_deg=draw.between(0, 0.6) * resolution / diameter * 57.3 / 2,
        shift_error=draw.between(0, 0.15) * resolution,
        missing_radius=draw.between(12, 0.25 * diameter + 12) if draw.happens(missing) else 0.0,
        flexible_radius=draw.between(12, 0.35 * diameter + 12) if draw.happens(0.5) else 0.0,
        flexible_b_factor=draw.logarithmic(100, 1500),
        surroundings=draw.one_of(surroundings),
        surroundings_contrast=draw.between(0.25, 1.0),
        surroundings_resolution=draw.between(14, 25),
        off_center=draw.between(0, 3) if symmetry == "C1" else 0.0,
        mask_extension=draw.between(4, 6),
        symmetry=symmetry,
        excess_noise=1.4 * draw.between(0, 1) ** 1.5 if draw.happens(0.85) else 0.0,
        finer=draw.happens(0.2),
    )


def _draw_view_plan(draw: "_Draw") -> ViewPlan:
    kinds: dict[ViewKind, float] = {"uniform": 0.6, "side": 0.12, "top": 0.14, "several": 0.14}
    low = draw.between(0.5, 1.6)
    return ViewPlan(
        count=round(draw.logarithmic(100, 6000)),
        kind=draw.one_of(kinds),
        spread_deg=draw.between(10, 40),
        preferred_share=draw.between(0.5, 0.97),
        defocus_um=(low, low + draw.between(0.05, 2.0)),
        micrographs=round(draw.logarithmic(1, 40)),
        voltage_kv=300.0 if draw.happens(0.7) else 200.0,
    )


class _Draw:
    """Numbers from a generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def unit(self) -> float:
        return float(torch.rand(1, generator=self._generator, dtype=torch.float64))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def logarithmic(self, low: float, high: float) -> float:
        return exp(self.between(log(low), log(high)))

    def happens(self, probability: float) -> bool:
        return self.unit() < probability

    def one_of(self, shares: dict[_Choice, float]) -> _Choice:
        choices, weights = list(shares), torch.tensor(list(shares.values()))
        return choices[int(torch.multinomial(weights, 1, generator=self._generator))]
