"""The statistical model of an image: E-step, M-step, noise."""
