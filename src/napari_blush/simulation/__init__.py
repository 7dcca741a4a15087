"""Made-up experiments whose answer is known: densities from atoms, noisy images."""
