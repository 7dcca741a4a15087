"""Curves beside the maps."""
