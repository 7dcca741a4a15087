"""Docks and what they are made of."""
