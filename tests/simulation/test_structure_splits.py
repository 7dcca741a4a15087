"""Splits by cluster: nothing straddles, what is pinned stays, the seed decides."""

import pytest

from napari_blush.simulation.structure_splits import KEPT_FOR_BENCHMARKS, split_clusters

CLUSTERS = {f"{i:04d}": f"c{i // 2}" for i in range(600)}


def split(clusters: dict[str, str] | None = None, seed: int = 0) -> dict[str, str]:
    return dict(
        split_clusters(
            CLUSTERS if clusters is None else clusters,
            validation_share=0.1,
            test_share=0.2,
            seed=seed,
        )
    )


def test_every_cluster_has_one_split_in_the_shares_asked_for() -> None:
    splits = split()
    assert splits.keys() == set(CLUSTERS.values())
    counts = [list(splits.values()).count(name) for name in ("train", "validation", "test")]
    assert counts[1] == pytest.approx(30, abs=18)
    assert counts[2] == pytest.approx(60, abs=25)
    assert sum(counts) == 300


def test_the_seed_decides_and_other_structures_do_not() -> None:
    fewer = {name: cluster for name, cluster in CLUSTERS.items() if int(name) % 3}
    splits, again = split(), split(fewer)
    assert all(splits[cluster] == again[cluster] for cluster in again)
    assert split(seed=1) != splits


@pytest.mark.parametrize("name", ["6MSM", "8BK7", "8bk7"])
def test_relatives_of_what_benchmarks_refine_are_never_trained_on(name: str) -> None:
    assert name.upper() in KEPT_FOR_BENCHMARKS
    for cluster in ("big", "small"):
        members = {name: cluster, "relative": cluster}
        members |= {f"r{i}": "big" for i in range(500)}
        assert split(CLUSTERS | members)[cluster] == "test"
    assert split(CLUSTERS | {"relative": name})[name] == "test"


def test_a_cluster_that_is_most_of_the_library_is_for_training() -> None:
    for seed in range(10):
        clusters = CLUSTERS | {f"a{i}": "antibodies" for i in range(100)}
        assert split(clusters, seed)["antibodies"] == "train"
