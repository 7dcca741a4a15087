"""Settings to begin with, by what is on the grid; no toolkit."""

from typing import Any

FILAMENT = "Filament"

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "Small membrane protein": (
        "Little signal in each image: denoised references, cut off where the FSC ends, and a start "
        "map that keeps enough detail to align to",
        {
            "regularizer": "blush",
            "spectral_trailing": True,
            "initial_low_pass": 40.0,
            "solvent_corrected_fsc": True,
            "healpix_order": 2,
        },
    ),
    "Large complex": (
        "Much signal in each image: the Wiener filter will do, and a smooth start map biases least",
        {
            "regularizer": "smoothness",
            "initial_low_pass": 60.0,
            "healpix_order": 2,
        },
    ),
    FILAMENT: (
        "A filament that lies along z in the start map: enter its twist and rise, which are not "
        "searched for; seen from the side, halves that share no micrograph, and the Wiener filter, "
        "because the shipped denoiser has seen no filaments",
        {
            "regularizer": "smoothness",
            "initial_low_pass": 20.0,
            "healpix_order": 2,
            "helical_fraction": 0.3,
            "helical_tilt_range": 15.0,
        },
    ),
    "Quick look": (
        "A few coarse iterations, to see whether the data refine at all",
        {
            "regularizer": "smoothness",
            "healpix_order": 1,
            "exhaustive_order": 1,
            "max_iterations": 5,
        },
    ),
}
"""Name to a sentence of help and the settings that it sets; all others stay as they are."""
