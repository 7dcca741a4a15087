"""Particles from whichever kind of file was named."""

from argparse import Namespace

from napari_blush.data_model.particles import Particles
from napari_blush.errors import SettingsError
from napari_blush.io.cryosparc import read_cryosparc
from napari_blush.io.star import read_particles


def particles_of(options: Namespace) -> Particles:
    """Read a RELION STAR file or, by its suffix, a CryoSPARC ``.cs`` file.

    Parameters
    ----------
    options : Namespace
        With ``particles``, ``image_root`` and ``passthrough``.

    Raises
    ------
    SettingsError
        When a passthrough file is given with a STAR file.
    """
    if options.particles.suffix == ".cs":
        return read_cryosparc(options.particles, options.passthrough, image_root=options.image_root)
    if options.passthrough is not None:
        raise SettingsError(
            f"--passthrough {options.passthrough} was given with {options.particles}; wanted it "
            "with a CryoSPARC .cs file only; leave it out."
        )
    return read_particles(options.particles, image_root=options.image_root)
