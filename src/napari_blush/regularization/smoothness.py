"""The baseline: a Gaussian prior on Fourier coefficients, which is a Wiener filter."""

from collections.abc import Generator
from dataclasses import dataclass

from napari_blush.regularization.regularizer import (
    RegularizationInput,
    RegularizationProgress,
    Regularized,
)


@dataclass(frozen=True, slots=True)
class SmoothnessRegularizer:
    """Takes the Wiener-filtered half-maps as they are (Scheres 2012)."""

    name: str = "smoothness"

    def regularize(
        self, given: RegularizationInput
    ) -> Generator[RegularizationProgress, None, Regularized]:
        """Return the Wiener maps."""
        yield from ()  # nothing takes long
        return Regularized((given.wiener.half1, given.wiener.half2))
