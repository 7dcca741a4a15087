"""How much is worked on at a time, so that memory stays within a limit."""

from dataclasses import dataclass

MEBI = 2**20


@dataclass(frozen=True, slots=True)
class WorkBudget:
    """Sizes of batches.

    Parameters
    ----------
    particle_batch : int
        Images prepared and compared together.
    tile_entries : int
        Scores held at a time by the exhaustive pass.
    gather_bytes : int
        Memory of the slices gathered for a sub-batch of a finer pass.
    table_bytes : int
        Largest table of slices that is kept.
    """

    particle_batch: int
    tile_entries: int
    gather_bytes: int
    table_bytes: int

    def dense_tile(self, rows: int) -> int:
        """Return how many orientations a tile of the exhaustive pass has for ``rows`` images."""
        return max(64, self.tile_entries // max(rows, 1))

    @staticmethod
    def default_batch(device_type: str) -> int:
        """Return how many images are compared together when memory is no limit."""
        return 32 if device_type == "cpu" else 512

    @classmethod
    def for_device(
        cls, device_type: str, memory_bytes: int, *, bytes_per_image: int = 1
    ) -> "WorkBudget":
        """Return sizes that use at most about ``memory_bytes`` beside the maps themselves.

        On a CPU small pieces that stay in the cache are faster than large ones; on an accelerator
        large ones are.
        """
        batch = min(memory_bytes // 8 // bytes_per_image, cls.default_batch(device_type))
        if device_type == "cpu":
            return cls(
                particle_batch=max(batch, 1),
                tile_entries=MEBI // 2,
                gather_bytes=min(24 * MEBI, memory_bytes // 8),
                table_bytes=memory_bytes // 2,
            )
        return cls(
            particle_batch=max(batch, 1),
            tile_entries=min(256 * MEBI, memory_bytes // 32),
            gather_bytes=memory_bytes // 8,
            table_bytes=memory_bytes // 3,
        )

    def halved(self) -> "WorkBudget":
        """Return the same with half the memory, for a device that ran out."""
        return WorkBudget(
            max(1, self.particle_batch // 2),
            max(4096, self.tile_entries // 2),
            max(MEBI, self.gather_bytes // 2),
            self.table_bytes // 2,
        )


class BudgetInUse:
    """The budget of a run, which shrinks when the device runs out of memory."""

    def __init__(self, budget: WorkBudget) -> None:
        self.current = budget

    def shrink(self) -> bool:
        """Halve the budget; False when it cannot be any smaller."""
        if self.current.particle_batch == 1 and self.current.gather_bytes <= MEBI:
            return False
        self.current = self.current.halved()
        return True
