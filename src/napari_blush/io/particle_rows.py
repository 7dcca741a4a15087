"""The rows of a particle STAR file and where their images lie, as text and numbers.

No tensor library and no judgement of values that are not asked for: ``particle_tables`` makes
``Particles`` of rows, and a window shows them as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_blush.errors import StarFileError
from napari_blush.io.image_names import ImagePlaces, locate_images, split_names
from napari_blush.io.star_columns import StarColumns
from napari_blush.io.star_legacy import upgrade_to_optics_groups
from napari_blush.io.star_table import StarBlock, read_star

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
SHIFTS = ("rlnOriginXAngst", "rlnOriginYAngst")
DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")


@dataclass(frozen=True, slots=True)
class ParticleRows:
    """A particle file in RELION 3.1's layout, whichever version wrote it.

    Parameters
    ----------
    optics : StarColumns
        A row for each optics group.
    particles : StarColumns
        A row for each particle.
    places : ImagePlaces
        Where the image of each particle lies.
    """

    optics: StarColumns
    particles: StarColumns
    places: ImagePlaces


def read_particle_rows(path: str | Path, *, image_root: str | Path | None = None) -> ParticleRows:
    """Read the tables of a particle file, and find the images that they name.

    Parameters
    ----------
    path : path
        A particle STAR file of RELION 3.0 (one table) or 3.1 and later (with optics groups).
    image_root : path, optional
        The folder that relative image names start from; see ``locate_images``.

    Raises
    ------
    StarFileError
        When the file, a table, or the column of images is missing or wrong.
    MrcFileError
        When a stack cannot be read or is cut short.
    """
    path = Path(path)
    optics, particles = _tables(path, read_star(path))
    stacks, image_index = split_names(path, particles.text("rlnImageName"))
    places = locate_images(path, stacks, image_index, Path(image_root) if image_root else None)
    return ParticleRows(optics, particles, places)


def has_poses(particles: StarColumns) -> bool:
    """Return whether particles have poses.

    Raises
    ------
    StarFileError
        When some columns of a pose are there and some are not.
    """
    # An in-plane angle alone comes from particle picking and is no pose.
    if not any(label in particles for label in ANGLES[:2]):
        return False
    return particles.all_or_none(*ANGLES)


def _tables(path: Path, blocks: Mapping[str, StarBlock]) -> tuple[StarColumns, StarColumns]:
    """Return the optics table and the particle table, whatever RELION wrote them."""
    names = [name for name in ("particles", "images", "") if name in blocks]
    names += [name for name, block in blocks.items() if "rlnImageName" in block.columns]
    names += [name for name in blocks if name not in ("optics", "general")]
    if not names:
        raise StarFileError(
            f"{path} has the tables {', '.join(f'data_{name}' for name in blocks)}; wanted "
            "data_particles; give a particle STAR file."
        )
    name = next((name for name in names if "rlnImageName" in blocks[name].columns), names[0])
    particles = StarColumns(path, name, blocks[name].columns)
    if not len(particles):
        raise StarFileError(
            f"{path} has no particles in data_{name}; wanted at least one row; give another file."
        )
    particles.text("rlnImageName")
    if "optics" in blocks:
        return StarColumns(path, "optics", blocks["optics"].columns), particles
    optics, upgraded = upgrade_to_optics_groups(path, name, particles.columns)
    return StarColumns(path, name, optics), StarColumns(path, name, upgraded)
