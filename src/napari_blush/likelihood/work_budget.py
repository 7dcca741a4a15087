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

    @classmethod
    def for_device(cls, device_type: str, memory_bytes: int) -> "WorkBudget":
        """Return sizes that use at most about ``memory_bytes`` beside the maps themselves.

        On a CPU small pieces that stay in the cache are faster than large ones; on an accelerator
        large ones are.
        """
        if device_type == "cpu":
            return cls(
                particle_batch=32,
                tile_entries=MEBI // 2,
                gather_bytes=min(24 * MEBI, memory_bytes // 8),
                table_bytes=memory_bytes // 2,
            )
        return cls(
            particle_batch=512,
            tile_entries=256 * MEBI,
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
