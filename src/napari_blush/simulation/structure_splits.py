"""Which structures a denoiser may learn from, be watched on, and never see.

Structures of one cluster (of sequence or fold) always go together, or the held-out ones would be
known by their relatives. The choice depends on the cluster's name and a seed, not on what else is
there, so that folders made at different times agree.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

Split = Literal["train", "validation", "test"]

KEPT_FOR_BENCHMARKS = frozenset(
    # CFTR, whole and its nucleotide-binding domains
    "5UAK 5UAR 5W81 5TSI 6D3R 6D3S 6MSM 6O1V 6O2P 7SV7 7SVD 7SVR 8EIG 8EIO 8EIQ 8EJ1 8FZQ 8UBR "
    "1R0W 1R0X 1R0Y 1R0Z 1Q3H 1XF9 1XFA 1XMI 1XMJ 2BBO 2BBS 2BBT 2PZE 2PZF 2PZG 3GD7 3SI7 4WZ6 "
    "5TF7 5TF8 5TFA 5TFB 5TFC 5TFD 5TFF 5TFG 5TFI 5TFJ "
    # beta-galactosidase
    "1BGL 1BGM 1DP0 1F49 1F4A 1F4H 1GHO 1HN1 1JYN 1JYV 1JYW 1JYX 1JZ2 1JZ3 1JZ4 1JZ5 1JZ6 1JZ7 "
    "1JZ8 1PX3 1PX4 3CZJ 3DYM 3DYO 3DYP 3E1F 3I3B 3I3D 3I3E 3IAP 3IAQ 3J7H 3MUY 3MUZ 3MV0 3MV1 "
    "3SEP 3T08 3T09 3T0A 3T0B 3T0D 3T2O 3T2P 3T2Q 3VD3 3VD4 3VD5 3VD7 3VD9 3VDA 3VDB 3VDC 4CKD "
    "4DUV 4DUW 4DUX 4TTG 4V40 4V41 4V44 4V45 5A1A 6CVM 6DRV 6TSH 6TSK 6TTE 6X1Q 7BRS 7BTK 8BK7 "
    "8BK8 8BKG".split()
)
"""PDB entries of the two proteins that the package's benchmarks refine."""

_LARGE_CLUSTER = 0.05
"""Share of all structures from which a cluster is kept for training: as a held-out set it would
stand for itself alone, and without it there would be too little left."""


def split_clusters(
    clusters: Mapping[str, str],
    *,
    validation_share: float,
    test_share: float,
    seed: int,
    kept_for_test: Iterable[str] = KEPT_FOR_BENCHMARKS,
) -> dict[str, Split]:
    """Assign every cluster to a split.

    Parameters
    ----------
    clusters : mapping of str to str
        Name of a structure to that of its cluster.
    validation_share, test_share : float
        Of the clusters, on average.
    seed : int
    kept_for_test : iterable of str
        Names of structures whose clusters are for the test, whatever else.

    Returns
    -------
    dict of str to {"train", "validation", "test"}
        By name of the cluster.
    """
    members = Counter(clusters.values())
    wanted = {name.upper() for name in kept_for_test}
    pinned = {clusters[name] for name in clusters if name.upper() in wanted}
    pinned |= {cluster for cluster in members if cluster.upper() in wanted}
    splits: dict[str, Split] = {}
    for cluster, count in members.items():
        place = _unit(f"{seed}:{cluster}")
        if cluster in pinned:
            splits[cluster] = "test"
        elif count > _LARGE_CLUSTER * len(clusters):
            splits[cluster] = "train"
        elif place < test_share:
            splits[cluster] = "test"
        elif place < test_share + validation_share:
            splits[cluster] = "validation"
        else:
            splits[cluster] = "train"
    return splits


def _unit(text: str) -> float:
    """Return a number in [0, 1) that looks random and depends on the text alone."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
