"""Bytes to data model and back: MRC, STAR, atoms, run folders."""
