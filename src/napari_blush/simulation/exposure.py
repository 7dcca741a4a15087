"""What the microscope does to each image: optics group, defocus, micrograph; drawn or given."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from napari_blush.data_model.optics_group import OpticsGroup
from napari_blush.errors import SettingsError
from napari_blush.numerics.ctf import electron_wavelength_angstrom
from napari_blush.simulation.atomic_density import VOLTS_PER_DENSITY

_ANGSTROM_PER_MICROMETER = 1e4
_ELECTRON_REST_ENERGY_KEV = 510.99895


@dataclass(frozen=True, slots=True)
class Exposure:
    """Imaging parameters of ``n`` images; the fields are those of ``data_model.Particles``.

    Parameters
    ----------
    optics_groups : tuple of OpticsGroup
        Of one pixel and box size.
    optics_group_index : (n,) int64
    defocus : (n, 3) float64
        U and V in angstrom, angle in degrees.
    phase_shift_deg, ctf_b_factor, ctf_scale : (n,) float64
    group_index : (n,) int64
        Which micrograph.
    group_names : tuple of str

    Raises
    ------
    SettingsError
        When the groups differ in pixel or box size.
    """

    optics_groups: tuple[OpticsGroup, ...]
    optics_group_index: Tensor
    defocus: Tensor
    phase_shift_deg: Tensor
    ctf_b_factor: Tensor
    ctf_scale: Tensor
    group_index: Tensor
    group_names: tuple[str, ...]

    def __post_init__(self) -> None:
        sizes = {(group.pixel_size, group.box_size) for group in self.optics_groups}
        if len(sizes) != 1:
            raise SettingsError(
                f"The optics groups have (pixel, box) sizes {sorted(sizes)}; wanted one for all; "
                "simulate each size on its own."
            )

    def __len__(self) -> int:
        return int(self.defocus.shape[0])


@dataclass(frozen=True, slots=True)
class DefocusPlan:
    """How defocus and aberrations of a session scatter.

    Parameters
    ----------
    range_um : (float, float)
        Least and greatest mean defocus of a micrograph, micrometer of underfocus.
    astigmatism_um : float
        Greatest difference of U and V of a micrograph.
    height_spread_angstrom : float
        Particles of one micrograph scatter uniformly by plus or minus this.
    phase_shift_deg : float
        Of a phase plate, the same for all.
    b_factor : float
        Of the envelope, angstrom squared, the same for all.
    particles_per_micrograph : int
    """

    range_um: tuple[float, float] = (0.8, 2.5)
    astigmatism_um: float = 0.04
    height_spread_angstrom: float = 100.0
    phase_shift_deg: float = 0.0
    b_factor: float = 0.0
    particles_per_micrograph: int = 50

    def __post_init__(self) -> None:
        low, high = self.range_um
        if not 0 <= low <= high:
            raise SettingsError(
                f"The defocus range is {low} to {high} micrometer; wanted 0 or more of underfocus, "
                "the smaller first."
            )
        if self.particles_per_micrograph < 1 or self.astigmatism_um < 0:
            raise SettingsError(
                f"There were {self.particles_per_micrograph} particles per micrograph and an "
                f"astigmatism of {self.astigmatism_um} micrometer given; wanted at least 1 and 0."
            )


def draw_exposure(
    n: int, optics_groups: tuple[OpticsGroup, ...], plan: DefocusPlan, generator: torch.Generator
) -> Exposure:
    """Draw the imaging parameters of ``n`` images.

    Micrographs are filled in order; each has one mean defocus, uniform in the range, one
    astigmatism with its angle, and one optics group, the groups taking turns.
    """
    n_micrographs = -(-n // plan.particles_per_micrograph)
    micrograph = torch.arange(n) // plan.particles_per_micrograph

    def uniform(count: int) -> Tensor:
        return torch.rand(count, generator=generator, dtype=torch.float64)

    low, high = plan.range_um
    mean = _ANGSTROM_PER_MICROMETER * (low + (high - low) * uniform(n_micrographs))
    difference = _ANGSTROM_PER_MICROMETER * plan.astigmatism_um * uniform(n_micrographs)
    angle = 180 * uniform(n_micrographs)
    height = plan.height_spread_angstrom * (2 * uniform(n) - 1)
    u = mean[micrograph] + difference[micrograph] / 2 + height
    v = mean[micrograph] - difference[micrograph] / 2 + height
    ones = torch.ones(n, dtype=torch.float64)
    return Exposure(
        optics_groups=optics_groups,
        optics_group_index=micrograph % len(optics_groups),
        defocus=torch.stack([u, v, angle[micrograph]], dim=1),
        phase_shift_deg=plan.phase_shift_deg * ones,
        ctf_b_factor=plan.b_factor * ones,
        ctf_scale=ones,
        group_index=micrograph,
        group_names=tuple(f"mic{i + 1:04d}.mrc" for i in range(n_micrographs)),
    )


def signal_scale_of_dose(dose: float, pixel_size: float, voltage_kv: float) -> float:
    r"""Return the factor from projected scattering to signal in units of the noise of counting.

    A weak phase object of projected potential :math:`\phi` (volt angstrom) changes the counts of
    a pixel by the fraction :math:`2 \sigma \phi` before the CTF, and :math:`N = D a^2` counts
    scatter by the fraction :math:`1/\sqrt N`, so that a projection summed over voxels of
    scattering length per volume (1/angstrom^2) times

    .. math:: 2 \sigma \cdot 47.878 \cdot a \sqrt{D a^2}

    is the signal in images whose noise has standard deviation 1.

    Parameters
    ----------
    dose : float
        Electrons per square angstrom.
    pixel_size : float
        Angstrom; also the voxel size of the density.
    voltage_kv : float

    Notes
    -----
    A perfect detector and nothing but counting noise: ice, inelastic losses, radiation damage and
    motion lower the signal of real images several times. Model them with a smaller dose or a
    B-factor.

    References
    ----------
    Kirkland (2010), Advanced Computing in Electron Microscopy, 2nd ed., chapters 2 and 5
    (interaction constant sigma).
    """
    if not dose > 0:
        raise SettingsError(f"The dose is {dose} electrons per A^2; wanted above zero.")
    energy = voltage_kv
    relativistic = (_ELECTRON_REST_ENERGY_KEV + energy) / (2 * _ELECTRON_REST_ENERGY_KEV + energy)
    # 2 pi / (lambda V) (m c^2 + eV) / (2 m c^2 + eV), radian per volt and angstrom
    sigma = 2 * torch.pi / electron_wavelength_angstrom(voltage_kv) / (1e3 * voltage_kv)
    contrast_per_voxel = 2 * sigma * relativistic * VOLTS_PER_DENSITY * pixel_size
    return contrast_per_voxel * sqrt(dose) * pixel_size
