"""Training of the denoiser on pairs of half-maps, noise against noise."""
