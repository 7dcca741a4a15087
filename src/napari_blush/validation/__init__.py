"""Judges a map after the fact; never part of the fit."""
