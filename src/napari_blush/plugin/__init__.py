"""Shows a run in napari and lets a person start, pause, steer and stop it."""
