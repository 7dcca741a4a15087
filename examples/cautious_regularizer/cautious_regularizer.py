"""A regularizer of another package: the Wiener map, ended where the halves correlate by a half.

To use it: ``pip install examples/cautious_regularizer``, then
``napari-blush refine ... --regularizer cautious``.
"""

import torch

from napari_blush.numerics.correlation import resolution_shell
from napari_blush.numerics.filters import low_pass_at_shell
from napari_blush.regularization.regularizer import RegularizationProgress, Regularized

AGREEMENT = 0.5
FEWEST_SHELLS = 5  # a reference without any detail cannot be aligned to


class CautiousRegularizer:
    """Low-passes the Wiener map of each half at the shell where the FSC falls below a half."""

    name = "cautious"

    def __init__(self, settings, device: torch.device) -> None:
        # ``settings`` are the RefinementSettings of the run. Made once, and anew when a person
        # changes the regularizer of a run that is going on.
        self.device = device
        # Optional: kept with the run, which goes on only with a regularizer that says the same.
        self.provenance = f"FSC above {AGREEMENT}"

    def regularize(self, given):
        """Yield progress, return references: a generator, so that a run can be cancelled."""
        shell = max(resolution_shell(given.fsc, AGREEMENT), given.shared_shell, FEWEST_SHELLS)
        references = []
        for number, wiener in enumerate((given.wiener.half1, given.wiener.half2)):
            yield RegularizationProgress(number / 2, f"filtering half {number + 1}")
            # Each half from its own map alone: the gold standard depends on it.
            filtered = low_pass_at_shell(wiener.to(self.device), shell)
            references.append(filtered.cpu())
        return Regularized(references=(references[0], references[1]), cutoff_shell=shell)
