"""Where the sample data lie and what they are refined with; no toolkit, no tensor library."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

FOLDER = Path(str(files("napari_blush") / "sample_data"))
HALF_MAPS = (FOLDER / "half_maps" / "half1.mrc", FOLDER / "half_maps" / "half2.mrc")


@dataclass(frozen=True, slots=True)
class SampleSet:
    """Simulated particles with what a refinement needs.

    Parameters
    ----------
    folder : Path
        With the files that ``napari-blush simulate`` writes.
    title, help : str
    particle_diameter, initial_low_pass : float
        To refine with, in angstrom.
    uses_mask : bool
        Whether the mask is to be used; otherwise one is drawn automatically.
    """

    folder: Path
    title: str
    help: str
    particle_diameter: float
    initial_low_pass: float
    uses_mask: bool = True

    @property
    def particles(self) -> Path:
        """The particle table."""
        return self.folder / "particles.star"

    @property
    def start_map(self) -> Path:
        """What a refinement starts from."""
        return self.folder / "start_map.mrc"

    @property
    def mask(self) -> Path:
        """The soft solvent mask."""
        return self.folder / "mask.mrc"

    @property
    def truth(self) -> Path:
        """The density that the images were made of."""
        return self.folder / "truth" / "truth.mrc"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that suit the set, by name."""
        return {
            "particle_diameter": self.particle_diameter,
            "initial_low_pass": self.initial_low_pass,
        }


CFTR = SampleSet(
    FOLDER,
    "CFTR",
    "500 simulated images of human CFTR, 128 kDa: a run of minutes on a laptop",
    particle_diameter=160.0,
    initial_low_pass=40.0,
)
LOW_SIGNAL = SampleSet(
    FOLDER / "low_signal",
    "Low signal",
    "800 simulated images of a protein of 40 kDa with little signal: the smoothness prior "
    "misplaces most of them, Blush fewer",
    particle_diameter=110.0,
    initial_low_pass=30.0,
    uses_mask=False,
)
SAMPLES = (CFTR, LOW_SIGNAL)
