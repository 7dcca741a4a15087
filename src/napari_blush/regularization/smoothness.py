"""The baseline: a Gaussian prior on Fourier coefficients, which is a Wiener filter."""

from dataclasses import dataclass

from napari_blush.regularization.regularizer import RegularizationInput, Regularized


@dataclass(frozen=True, slots=True)
class SmoothnessRegularizer:
    """Takes the Wiener-filtered half-maps as they are (Scheres 2012)."""

    name: str = "smoothness"

    def regularize(self, given: RegularizationInput) -> Regularized:
        """Return the Wiener maps."""
        return Regularized((given.wiener.half1, given.wiener.half2))
