"""What is known of a set of weights: the figures that their use depends on, and where from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WeightsRecord:
    """One set of weights.

    Parameters
    ----------
    name, version : str
    sha256 : str
        Of the file, as 64 hexadecimal digits; empty while no file is at hand.
    voxel_size : float
        Angstrom, of the grid that the network works on.
    block_size : int
        Voxels along an edge of a block.
    width, depth : int
        Of ``BlushUNet``.
    license : str
        ``unknown`` where none was stated.
    source : str
        Where the weights came from: an address, a path or a few words.
    description : str
    """

    name: str
    version: str
    sha256: str
    voxel_size: float
    block_size: int
    width: int
    depth: int
    license: str = "unknown"
    source: str = ""
    description: str = ""

    def __str__(self) -> str:
        """Return one line for a log: name, version, checksum and grid."""
        return (
            f"{self.name} {self.version} (sha256 {self.sha256[:12] or 'unknown'}, "
            f"{self.voxel_size:g} A, blocks of {self.block_size})"
        )
