"""mnist and fashion-mnist: where they are looked for, and downloads from a server that misbehaves."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from vqnp._check import InputError
from vqnp.data import download, load_dataset, load_splits, named, open_images

from .idxfiles import idx_bytes

SHA256 = named.SHA256  # the real one
RNG = np.random.default_rng(1)
NAMES = ("mnist", "fashion-mnist")
FILES = tuple(f"{s}-{what}-ubyte" for s in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
ARRAYS = {
    name: {file: RNG.integers(0, 256, (40, 9, 9) if "images" in file else 40, np.uint8) for file in FILES}
    for name in NAMES
}
CONTENT = {name: {file: idx_bytes(ARRAYS[name][file]) for file in FILES} for name in NAMES}
IMAGES, LABELS = FILES[:2]
GZIPPED = gzip.compress(CONTENT["mnist"][IMAGES], mtime=0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Small data sets in the place of the real ones, and none of this machine's folders."""
    table = {
        name: {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
        for name, contents in CONTENT.items()
    }
    monkeypatch.setattr(named, "SHA256", table)
    monkeypatch.setattr(named, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(download, "PAUSE", 0)
    monkeypatch.setattr(download, "TIMEOUT", 5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VQNP_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("VQNP_MIRROR", "http://127.0.0.1:9")  # the discard port: nobody answers
    monkeypatch.setenv("no_proxy", "*")


class Server(ThreadingHTTPServer):
    """Serves /m/NAME/FILE.gz as told, and keeps the Range of every request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []
        files = [(name, file) for name in NAMES for file in FILES]
        self.content = {f"/m/{n}/{f}.gz": gzip.compress(CONTENT[n][f], mtime=0) for n, f in files}
        self.break_after = []  # bytes of the body to send, for each of the next requests
        self.always_break = None
        self.stall = None  # what a broken transfer waits for before the connection is closed
        self.supports_range = True
        self.says_length = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/m"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers["Range"]
        server.ranges.append(asked)
        content = server.content.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.supports_range else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        end = server.break_after.pop(0) if server.break_after else server.always_break
        self.wfile.write(body[:end])
        if end is not None and server.stall:
            server.stall.wait(10)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("VQNP_MIRROR", server.url)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "vqnp" / "mnist"


def fetch_images():
    images = open_images("mnist").read()
    np.testing.assert_array_equal(images, ARRAYS["mnist"][IMAGES])


def put(folder, name, suffix=".gz", spoil=False):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in CONTENT[name].items():
        content = content[:-1] + bytes([content[-1] ^ 1]) if spoil else content
        (folder / f"{file}{suffix}").write_bytes(gzip.compress(content) if suffix else content)


def refused(source="mnist", load=load_dataset):
    with pytest.raises(InputError) as caught:
        load(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["own/{}", "own", "system/{}", "cache/vqnp/{}"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_found_without_a_network(name, place, suffix, tmp_path):
    put(tmp_path / place.format(name), name, suffix)
    for dataset, (images, labels) in zip(load_splits(name), (FILES[:2], FILES[2:]), strict=True):
        np.testing.assert_array_equal(dataset.images, ARRAYS[name][images])
        np.testing.assert_array_equal(dataset.labels, ARRAYS[name][labels])
        assert dataset.name == name


def test_cache_is_under_home_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / ".cache" / "vqnp" / "mnist", "mnist")
    fetch_images()


def test_wrong_content_found_locally_names_the_file(tmp_path):
    put(tmp_path / "own" / "mnist", "mnist", spoil=True)
    file = tmp_path / "own" / "mnist" / f"{IMAGES}.gz"
    said = refused()
    assert said.startswith(f"{file}: the content of mnist's {IMAGES} must have SHA-256 ")
    file.write_bytes(GZIPPED[:-9])
    assert refused().startswith(f"{file}: must be a sound file of its kind; got ")


def test_the_folder_of_the_other_data_set_is_passed_over(tmp_path):
    put(tmp_path / "own", "fashion-mnist")
    put(tmp_path / "system" / "mnist", "mnist")
    fetch_images()


def test_full_transfer(server, cache, capsys):
    fetch_images()
    assert server.ranges == [None, None]  # the images and the labels of one split alone
    assert sorted(p.name for p in cache.iterdir()) == [f"{IMAGES}.gz", f"{LABELS}.gz"]
    out, err = capsys.readouterr()
    assert out == "" and f"mnist/{IMAGES}" in err and "100%" in err
    server.content.clear()
    fetch_images()  # from the cache
    assert len(server.ranges) == 2


def test_broken_transfer_is_resumed(server, cache):
    server.break_after = [1000, 500]
    fetch_images()
    assert server.ranges == [None, "bytes=1000-", "bytes=1500-", None]
    assert (cache / f"{IMAGES}.gz").read_bytes() == GZIPPED


def test_stalled_transfer_is_resumed(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    monkeypatch.setattr(download, "CHUNK", 500)  # what came of an unfinished chunk is dropped
    server.stall = threading.Event()
    server.break_after = [1000]
    fetch_images()
    server.stall.set()
    assert server.ranges == [None, "bytes=1000-", None]


def test_a_later_call_resumes_too(server, cache):
    cache.mkdir(parents=True)
    (cache / f"{IMAGES}.gz.part").write_bytes(GZIPPED[:700])
    fetch_images()
    assert server.ranges[0] == "bytes=700-"


def test_server_without_range_restarts(server, cache):
    server.supports_range = False
    server.break_after = [1000]
    fetch_images()
    assert server.ranges == [None, "bytes=1000-", None]
    assert (cache / f"{IMAGES}.gz").read_bytes() == GZIPPED


def test_range_not_satisfiable_restarts(server, cache):
    cache.mkdir(parents=True)
    (cache / f"{IMAGES}.gz.part").write_bytes(GZIPPED + b"more")
    fetch_images()
    assert server.ranges[:2] == [f"bytes={len(GZIPPED) + 4}-", None]


def test_the_beginning_of_another_file_restarts(server, cache):
    cache.mkdir(parents=True)
    (cache / f"{IMAGES}.gz.part").write_bytes(b"x" * 100)
    fetch_images()
    assert server.ranges[:2] == ["bytes=100-", None]


def test_always_breaking_server_keeps_the_part(server, cache):
    server.always_break = 100
    said = refused()
    assert f"{server.url}/mnist/{IMAGES}.gz: broken off after 400 of {len(GZIPPED)} bytes" in said
    assert server.ranges == [None, "bytes=100-", "bytes=200-", "bytes=300-"]
    assert [p.name for p in cache.iterdir()] == [f"{IMAGES}.gz.part"]
    assert (cache / f"{IMAGES}.gz.part").read_bytes() == GZIPPED[:400]


@pytest.mark.parametrize("break_after", [None, 100])
def test_length_unsaid(server, cache, break_after):
    server.says_length = False
    server.break_after = [break_after]
    if break_after is None:
        fetch_images()
    else:  # seen by the content alone
        assert "wrong content" in refused()
        assert list(cache.iterdir()) == []


def test_wrong_content_is_refused_and_not_kept(server, cache):
    server.content[f"/m/mnist/{IMAGES}.gz"] = gzip.compress(CONTENT["fashion-mnist"][IMAGES])
    assert f"{IMAGES}.gz: wrong content" in refused()
    assert server.ranges == [None] and list(cache.iterdir()) == []


def test_content_is_what_counts_however_compressed(server, cache):
    server.content[f"/m/mnist/{IMAGES}.gz"] = gzip.compress(CONTENT["mnist"][IMAGES], 1, mtime=7)
    fetch_images()


def test_not_found_says_what_was_tried_and_what_to_do(server, cache):
    server.content.clear()
    said = refused()
    assert said == (
        f"data set 'mnist': {IMAGES} must be on this machine or on a mirror (with no network, put the data "
        f"set's four files, {IMAGES}.gz and so on, into a folder and its path into the environment variable "
        f"VQNP_DATA); got {server.url}/mnist/{IMAGES}.gz: HTTP 404 Not Found"
    )
    assert server.ranges == [None] and not cache.exists()


def test_no_network(cache):
    said = refused("fashion-mnist", open_images)
    assert said.startswith("data set 'fashion-mnist': ") and "VQNP_DATA" in said
    assert "http://127.0.0.1:9/fashion-mnist/train-images-idx3-ubyte.gz: " in said
    assert not cache.exists()


def test_next_mirror(server, cache, monkeypatch):
    monkeypatch.delenv("VQNP_MIRROR")
    bad = [f"{server.url}/nothing", "http://127.0.0.1:9"]
    monkeypatch.setitem(download.MIRRORS, "mnist", (*bad, f"{server.url}/mnist"))
    fetch_images()
    monkeypatch.setitem(download.MIRRORS, "mnist", tuple(bad))
    for path in cache.iterdir():
        path.unlink()
    said = refused()
    assert all(url in said for url in bad)


def test_next_mirror_after_one_with_another_compression_broke(server, cache, monkeypatch):
    """The part of one mirror's file does not fit the other's: started again, not refused."""
    server.content[f"/m/mnist2/{IMAGES}.gz"] = gzip.compress(CONTENT["mnist"][IMAGES], 1, mtime=7)
    server.content[f"/m/mnist2/{LABELS}.gz"] = server.content[f"/m/mnist/{LABELS}.gz"]
    monkeypatch.delenv("VQNP_MIRROR")
    monkeypatch.setitem(download.MIRRORS, "mnist", (f"{server.url}/mnist", f"{server.url}/mnist2"))
    server.break_after = [100, 100, 100, 100]
    fetch_images()
    assert server.ranges[:6] == [None, "bytes=100-", "bytes=200-", "bytes=300-", "bytes=400-", None]


def test_several_mirrors_of_ones_own(server, monkeypatch):
    monkeypatch.setenv("VQNP_MIRROR", f"http://127.0.0.1:9 {server.url}/")
    fetch_images()
    monkeypatch.setenv("VQNP_MIRROR", "mirror.example/data")
    said = "VQNP_MIRROR: a mirror must begin with http:// or https://; got 'mirror.example/data'"
    assert refused("fashion-mnist") == said


def test_a_cache_that_cannot_be_written_is_an_oserror(server, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file in the folder's place")
    with pytest.raises(NotADirectoryError):
        load_dataset("mnist")
    assert server.ranges == [None]  # trying again would not help


def test_the_table():
    """MIRRORS and SHA256 have the same data sets, and every data set its four files."""
    assert set(download.MIRRORS) == set(SHA256) == set(NAMES)
    for name in NAMES:
        assert set(SHA256[name]) == set(FILES)
        assert all(len(bytes.fromhex(digest)) == 32 for digest in SHA256[name].values())
        assert all(url.startswith("http") and not url.endswith("/") for url in download.MIRRORS[name])
