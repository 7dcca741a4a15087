"""Weights that others published: what they are, where they are, and how to get and check them.

They are not distributed with this package; nothing is fetched unless ``fetch_weights`` is called.
"""

import hashlib
import http.client
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from napari_blush.denoiser.weights_folder import own_folder, read_whole, whole_or_absent
from napari_blush.errors import WeightsError

_TIMEOUT_S = 30.0
_CHUNK = 1 << 18
_LARGEST_DOWNLOAD = 1 << 28


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """Weights that can be fetched.

    Parameters
    ----------
    name, version : str
    url : str
    sha256 : str
        Of the file at ``url``.
    suffix : str
        Of the file as it is kept.
    license, description : str
    """

    name: str
    version: str
    url: str
    sha256: str
    suffix: str
    license: str
    description: str

    @property
    def file_name(self) -> str:
        """Under which the file is kept in the user's folder."""
        return self.name + self.suffix


PUBLISHED = {
    weights.name: weights
    for weights in (
        PublishedWeights(
            name="relion-v1.0",
            version="1.0",
            url="https://zenodo.org/records/10072731/files/blush_v1.0.ckpt.gz",
            sha256="6e42a7d80231418bb77170619eeedf67b59be84078972a25a39fc3b82cd9c34e",
            suffix=".ckpt.gz",
            license="unknown",
            description="the weights of Kimanius et al. 2024, as RELION 5 uses them",
        ),
    )
}
"""By name. The licence of the published weights is not stated, so they are not passed on."""


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """Bytes fetched so far, and how many there are (0 when the server does not say)."""

    done: int
    total: int


def published(name: str) -> PublishedWeights:
    """Return the weights called ``name``.

    Raises
    ------
    WeightsError
        When none of that name were published.
    """
    if name not in PUBLISHED:
        raise WeightsError(
            f"Weights {name!r} cannot be fetched; wanted one of: {', '.join(PUBLISHED)}."
        )
    return PUBLISHED[name]


def check_published(name: str, sha256: str, where: str) -> None:
    """Refuse a file that claims to be a published one and is not.

    Raises
    ------
    WeightsError
        When the checksums differ.
    """
    weights = published(name)
    if sha256 != weights.sha256:
        raise WeightsError(
            f"{where} has the sha256 {sha256} and {name} has {weights.sha256}; wanted the file as "
            "it was published; it is damaged or was changed; remove it and get it again from "
            f"{weights.url}."
        )


def fetch_weights(name: str) -> Generator[FetchProgress, None, Path]:
    """Download published weights into the user's folder; return where they are.

    The file has its name only when it is whole and its checksum is right. One that is there
    already, and right, is kept.

    Raises
    ------
    WeightsError
        When the name is unknown, there is no network, or what came is not what was published.
    """
    weights = published(name)
    folder = own_folder()
    path = folder / weights.file_name
    if path.is_file():
        check_published(name, hashlib.sha256(read_whole(path)).hexdigest(), str(path))
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise WeightsError(
            f"Cannot make the folder {folder}: {problem.strerror}; choose another one in "
            "NAPARI_BLUSH_WEIGHTS."
        ) from problem
    digest = hashlib.sha256()
    with whole_or_absent(path) as temporary:
        with temporary.open("wb") as handle:
            try:
                for progress, chunk in _download(weights.url):
                    digest.update(chunk)
                    handle.write(chunk)
                    yield progress
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as problem:
                raise WeightsError(_by_hand(weights, path, problem)) from problem
        check_published(name, digest.hexdigest(), f"What came from {weights.url}")
    return path


def _download(url: str) -> Generator[tuple[FetchProgress, bytes], None, None]:
    request = urllib.request.Request(url, headers={"User-Agent": "napari-blush"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while chunk := answer.read(_CHUNK):
            done += len(chunk)
            if done > _LARGEST_DOWNLOAD:
                raise WeightsError(
                    f"{url} sends more than {_LARGEST_DOWNLOAD} bytes; wanted weights; nothing was "
                    "kept."
                )
            yield FetchProgress(done, total), chunk
        if done < total:
            raise http.client.IncompleteRead(b"", total - done)


def _by_hand(weights: PublishedWeights, path: Path, problem: BaseException) -> str:
    reason = getattr(problem, "reason", None) or problem
    return (
        f"{weights.url} cannot be reached ({reason}); wanted a network connection; on a computer "
        f"that has one, download that file, copy it to {path} and check it with 'napari-blush "
        "weights list'."
    )
