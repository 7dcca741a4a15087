"""Tensor in, tensor out: Fourier, rotations, CTF, projection, FSC, masks.

Knows no file and no particle.
"""
