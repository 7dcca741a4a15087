"""Weights by name: where they are looked for, what is told of them, how they get there."""

import gzip
import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from napari_blush.denoiser import published, weights, weights_folder
from napari_blush.denoiser.network import BlushUNet
from napari_blush.denoiser.published import PUBLISHED, fetch_weights
from napari_blush.denoiser.weights import (
    import_weights,
    known_weights,
    load_denoiser,
    save_denoiser,
)
from napari_blush.denoiser.weights_folder import own_folder, relion_folders
from napari_blush.errors import WeightsError

NAME = "relion-v1.0"
FIELDS = {"voxel_size": 3.0, "block_size": 32}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home folder, nothing shipped."""
    for variable in ("TORCH_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "NAPARI_BLUSH_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(weights, "shipped_folder", lambda: tmp_path / "shipped")
    return tmp_path


@pytest.fixture
def bundle() -> bytes:
    """Return a small bundle, gzip'd."""
    entries = {"model_state_dict": BlushUNet(2, 3).state_dict(), "voxel_size": 1.5}
    buffer = io.BytesIO()
    torch.save({**entries, "block_size": 64.0, "no_mask": False}, buffer)
    return gzip.compress(buffer.getvalue(), 1)


@pytest.fixture
def listed(bundle: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Let the bundle be the published one."""
    checksum = hashlib.sha256(bundle).hexdigest()
    monkeypatch.setitem(PUBLISHED, NAME, replace(PUBLISHED[NAME], sha256=checksum))
    return bundle


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_relions_copy_is_found_where_relion_keeps_it(
    home: Path, bundle: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = gzip.decompress(bundle)
    monkeypatch.setenv("TORCH_HOME", str(home / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    places = ["torch", "cache/torch", ".cache/torch"]
    assert relion_folders() == [home / p / "hub/checkpoints/relion_blush" for p in places]
    for folder in relion_folders():
        put(folder / "v1.0.ckpt", content)
        put(folder / "v1.0_installed.txt", b"")
    for folder in relion_folders():
        record = load_denoiser(NAME).record
        assert (record.name, record.version) == (NAME, "1.0")
        (known,) = known_weights()
        assert (known.name, known.path, known.place) == (NAME, folder / "v1.0.ckpt", "RELION's")
        (folder / "v1.0.ckpt").unlink()
    with pytest.raises(WeightsError, match=r"relion-v1\.0 are not here; .* weights fetch"):
        load_denoiser(NAME)


@pytest.mark.parametrize(
    ("platform", "folder"),
    [
        ("linux", ".local/share/napari-blush/weights"),
        ("darwin", "Library/Application Support/napari-blush/weights"),
        ("win32", "AppData/Local/napari-blush/weights"),
    ],
)
def test_the_own_folder_is_the_platforms(
    home: Path, monkeypatch: pytest.MonkeyPatch, platform: str, folder: str
) -> None:
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(weights_folder.sys, "platform", platform)
    assert own_folder() == home / folder
    monkeypatch.setenv("NAPARI_BLUSH_WEIGHTS", str(home / "mine"))
    assert own_folder() == home / "mine"


def test_the_default_is_the_one_declared(home: Path) -> None:
    with pytest.raises(WeightsError, match=r"no default; .* give one with --denoiser"):
        load_denoiser("default")
    (home / "shipped").mkdir()
    for name in ("one", "two"):
        save_denoiser(home / "shipped" / f"{name}.safetensors", BlushUNet(2, 3), FIELDS)
    (home / "shipped" / "two.md").write_text("model card\n")
    (home / "shipped" / "default.txt").write_text("two\n")
    assert load_denoiser("default").record.name == "two"
    flags = {known.name: known.is_default for known in known_weights()}
    assert flags == {"one": False, "two": True, NAME: False}


def test_a_file_that_is_no_weights_is_refused_without_unsafe_advice(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (home / "map.mrc").write_bytes(bytes(2000))
    with pytest.raises(WeightsError, match=r"^map.mrc cannot be read as weights") as caught:
        load_denoiser("map.mrc")
    assert "weights_only" not in str(caught.value)


def test_unknown_names_tell_the_known_ones(home: Path) -> None:
    with pytest.raises(WeightsError, match="'nonsense' are not known; wanted one of: none"):
        load_denoiser("nonsense")
    own_folder().mkdir(parents=True)
    save_denoiser(own_folder() / "mine.safetensors", BlushUNet(2, 3), FIELDS)
    with pytest.raises(WeightsError, match="wanted one of: mine"):
        load_denoiser("nonsense")
    with pytest.raises(WeightsError, match=r"gone\.safetensors does not exist"):
        load_denoiser("gone.safetensors")


def test_an_unfit_file_is_listed_with_its_reason(home: Path) -> None:
    put(own_folder() / "broken.safetensors", b"x")
    broken, _ = known_weights()
    assert broken.record is None
    assert "not a whole safetensors file" in broken.problem


def test_import_copies_what_can_be_used(home: Path, bundle: bytes) -> None:
    given = put(home / "download" / "custom.ckpt.gz", bundle)
    copy = import_weights(given)
    assert copy == own_folder() / "custom.ckpt.gz"
    assert copy.read_bytes() == bundle
    assert load_denoiser("custom").voxel_size == 1.5
    assert import_weights(given) == copy  # the same again is no conflict
    other = home / "custom.safetensors"
    save_denoiser(other, BlushUNet(2, 3), FIELDS)
    with pytest.raises(WeightsError, match="is there already and differs"):
        import_weights(other)
    assert import_weights(other, "mine").name == "mine.safetensors"
    assert load_denoiser("mine").record.name == "mine"


@pytest.mark.parametrize("name", ["../evil", "default", "", "a b", ".hidden"])
def test_import_refuses_odd_names(home: Path, bundle: bytes, name: str) -> None:
    given = put(home / "a b.ckpt.gz", bundle)
    with pytest.raises(WeightsError, match="wanted a name of letters"):
        import_weights(given, name)


def test_import_refuses_what_cannot_be_used(home: Path) -> None:
    given = put(home / "a.ckpt", b"no weights")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        import_weights(given)
    assert not own_folder().exists()


def test_the_published_file_is_known_by_its_checksum(home: Path, listed: bytes) -> None:
    given = put(home / "blush_v1.0.ckpt.gz", listed)
    assert import_weights(given) == own_folder() / "relion-v1.0.ckpt.gz"
    assert load_denoiser(NAME).record.version == "1.0"


def test_a_file_that_claims_to_be_the_published_one_is_checked(home: Path, bundle: bytes) -> None:
    given = put(home / "a.ckpt.gz", bundle)
    with pytest.raises(WeightsError, match=r"relion-v1\.0 has 6e42a7d8"):
        import_weights(given, NAME)
    put(own_folder() / "relion-v1.0.ckpt.gz", bundle)
    with pytest.raises(WeightsError, match=r"relion-v1\.0 has 6e42a7d8"):
        load_denoiser(NAME)


class Server:
    """Serves one file on the loopback."""

    def __init__(self) -> None:
        self.content = b""
        self.promised: int | None = None
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(200 if self.path == "/weights" else 404)
                self.send_header("Content-Length", str(outer.promised or len(outer.content)))
                self.end_headers()
                self.wfile.write(outer.content)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/weights"


@pytest.fixture
def server(listed: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    serving = Server()
    serving.content = listed
    thread = threading.Thread(target=serving.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(PUBLISHED, NAME, replace(PUBLISHED[NAME], url=serving.url))
    yield serving
    serving.server.shutdown()
    thread.join()
    serving.server.server_close()


def fetched(name: str = NAME) -> tuple[Path, list[published.FetchProgress]]:
    steps, seen = fetch_weights(name), []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as finished:
            return finished.value, seen


def test_fetch_puts_the_file_in_place(home: Path, server: Server) -> None:
    path, seen = fetched()
    assert path == own_folder() / "relion-v1.0.ckpt.gz"
    assert path.read_bytes() == server.content
    assert seen[-1] == published.FetchProgress(len(server.content), len(server.content))
    assert load_denoiser(NAME).record.version == "1.0"
    assert fetched() == (path, [])
    assert server.requests == 1


def test_what_is_not_the_published_file_is_not_kept(home: Path, server: Server) -> None:
    server.content += b"x"
    with pytest.raises(WeightsError, match=r"What came from http.* has the sha256"):
        fetched()
    assert not [*own_folder().iterdir()]


def test_a_connection_that_breaks_leaves_nothing(home: Path, server: Server) -> None:
    server.promised = len(server.content)
    server.content = server.content[:100]
    with pytest.raises(WeightsError, match="cannot be reached"):
        fetched()
    assert not [*own_folder().iterdir()]


def test_stopping_leaves_nothing(home: Path, server: Server) -> None:
    steps = fetch_weights(NAME)
    next(steps)
    steps.close()
    assert not [*own_folder().iterdir()]


def test_an_endless_file_is_refused(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "_LARGEST_DOWNLOAD", 1000)
    with pytest.raises(WeightsError, match="sends more than 1000 bytes"):
        fetched()


def test_without_network_it_says_what_to_do_by_hand(
    home: Path, listed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    url = "http://127.0.0.1:9/weights"  # the discard port: nobody listens
    monkeypatch.setitem(PUBLISHED, NAME, replace(PUBLISHED[NAME], url=url))
    with pytest.raises(WeightsError) as refused:
        fetched()
    for told in (url, str(own_folder() / "relion-v1.0.ckpt.gz"), "cannot be reached"):
        assert told in str(refused.value)
    with pytest.raises(WeightsError, match=r"cannot be fetched; wanted one of: relion-v1\.0"):
        fetched("nonsense")


def test_loading_never_opens_a_connection(home: Path, server: Server) -> None:
    with pytest.raises(WeightsError, match="are not here"):
        load_denoiser(NAME)
    known_weights()
    assert server.requests == 0
