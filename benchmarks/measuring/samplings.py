"""What one iteration of a refinement took, and means over iterations of equal sampling."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class IterationCost:
    """One iteration of a program.

    Parameters
    ----------
    number : int
    order : int
        HEALPix order before oversampling: 2 is 15 degrees, 3 is 7.5, ...
    local : bool
        Whether the search was local.
    last : bool
        The one on all data, to Nyquist.
    cpu_seconds : float
    """

    number: int
    order: int
    local: bool
    last: bool
    cpu_seconds: float

    @property
    def sampling(self) -> str:
        """``7.5 deg global`` and the like."""
        words = "last, " if self.last else ""
        return f"{words}{60 / 2**self.order:g} deg {'local' if self.local else 'global'}"


def by_sampling(costs: Sequence[IterationCost], n_particles: int) -> dict[str, float]:
    """Return mean CPU seconds per particle of the iterations of each sampling, in order."""
    found: dict[str, list[float]] = {}
    for cost in costs:
        found.setdefault(cost.sampling, []).append(cost.cpu_seconds / n_particles)
    return {name: sum(values) / len(values) for name, values in found.items()}


def finest_global(costs: Sequence[IterationCost], n_particles: int) -> str | None:
    """Return CPU seconds per particle of a global iteration at the finest global step, and it."""
    return _named([c for c in costs if not c.local and not c.last], n_particles, coarsest=False)


def coarsest_local(costs: Sequence[IterationCost], n_particles: int) -> str | None:
    """Return CPU seconds per particle of a local iteration at the coarsest local step, and it."""
    return _named([c for c in costs if c.local and not c.last], n_particles, coarsest=True)


def _named(costs: Sequence[IterationCost], n_particles: int, *, coarsest: bool) -> str | None:
    if not costs:
        return None
    orders = [cost.order for cost in costs]
    order = min(orders) if coarsest else max(orders)
    mean = by_sampling([cost for cost in costs if cost.order == order], n_particles)
    (value,) = mean.values()
    return f"{value:.3g} ({60 / 2**order:g} deg)"
