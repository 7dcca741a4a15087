"""Cryo-EM refinement with a learned denoiser, to run, watch and steer inside napari."""

__version__ = "0.1.0"
