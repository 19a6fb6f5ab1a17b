"""mnist and fashion-mnist: where they are looked for, and downloads from a server that misbehaves."""

import gzip
import hashlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from vqnp._check import InputError
from vqnp.data import load_dataset, load_splits, named, open_images

from .idxfiles import idx_bytes

TABLES = (named.SHA256, named.DOWNLOADS, named.MIRRORS)  # the real ones
RNG = np.random.default_rng(1)
NAMES = ("mnist", "fashion-mnist")
FILES = tuple(f"{s}-{what}-ubyte" for s in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
ARRAYS = {
    name: {file: RNG.integers(0, 256, (40, 9, 9) if "images" in file else 40, np.uint8) for file in FILES}
    for name in NAMES
}
CONTENT = {name: {file: idx_bytes(ARRAYS[name][file]) for file in FILES} for name in NAMES}
IMAGES, LABELS = FILES[:2]
GZIPPED = {
    name: {f"{file}.gz": gzip.compress(CONTENT[name][file], mtime=0) for file in FILES} for name in NAMES
}


def digests(contents):
    return {
        name: {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        for name, files in contents.items()
    }


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Small data sets in the place of the real ones, and none of this machine's folders."""
    monkeypatch.setattr(named, "SHA256", digests(CONTENT))
    monkeypatch.setattr(named, "DOWNLOADS", digests(GZIPPED))
    monkeypatch.setattr(named, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(named, "RETRIES", 0)  # pooch waits for a second before it tries again
    monkeypatch.setattr(named, "TIMEOUT_SECONDS", 5.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VQNP_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("VQNP_MIRROR", "http://127.0.0.1:9")  # the discard port: nobody answers
    monkeypatch.setenv("no_proxy", "*")


class Server(ThreadingHTTPServer):
    """Serves /m/NAME/FILE.gz, and keeps the path of every request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.content = {f"/m/{name}/{file}": GZIPPED[name][file] for name in NAMES for file in GZIPPED[name]}
        self.break_after = []  # bytes of the body to send, for each of the next requests

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/m"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.content.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.break_after.pop(0) if self.server.break_after else None])

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
    return caught.value


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
    error = refused()
    assert error.where == str(file) and error.needed.startswith("must have SHA-256 ")
    file.write_bytes(GZIPPED["mnist"][f"{IMAGES}.gz"][:-9])
    error = refused()
    assert error.where == str(file) and error.needed == "must be whole and unchanged"


def test_the_folder_of_the_other_data_set_is_passed_over(tmp_path):
    put(tmp_path / "own", "fashion-mnist")
    put(tmp_path / "system" / "mnist", "mnist")
    fetch_images()


def test_the_right_file(server, cache, capsys):
    fetch_images()
    files = [f"{IMAGES}.gz", f"{LABELS}.gz"]  # of one split alone
    assert server.asked == [f"/m/mnist/{file}" for file in files]
    assert sorted(path.name for path in cache.iterdir()) == files
    out, err = capsys.readouterr()
    assert out == "" and "100%" in err
    server.content.clear()
    fetch_images()  # from the cache
    assert len(server.asked) == 2


def test_a_broken_transfer_is_tried_again(server, cache, monkeypatch):
    monkeypatch.setattr(named, "RETRIES", 1)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    server.break_after = [1000]
    fetch_images()
    assert server.asked.count(f"/m/mnist/{IMAGES}.gz") == 2
    assert (cache / f"{IMAGES}.gz").read_bytes() == GZIPPED["mnist"][f"{IMAGES}.gz"]


def test_a_broken_transfer_leaves_nothing(server, cache):
    server.break_after = [1000]
    assert server.url in refused().got and list(cache.iterdir()) == []


def test_a_wrong_hash_is_refused_and_not_kept(server, cache):
    server.content[f"/m/mnist/{IMAGES}.gz"] = GZIPPED["fashion-mnist"][f"{IMAGES}.gz"]
    assert "SHA256 hash" in refused().got and list(cache.iterdir()) == []


def test_no_network_says_what_was_tried_and_what_to_do():
    error = refused("fashion-mnist", open_images)
    assert (error.where, error.argument) == ("data set 'fashion-mnist'", f"{IMAGES}.gz")
    assert "VQNP_DATA" in error.needed and error.got.startswith("http://127.0.0.1:9/fashion-mnist: ")


def test_without_pooch_the_error_names_the_extra_and_the_alternative(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)  # so that importing it fails
    error = refused()
    assert (error.where, error.argument) == ("data set 'mnist'", "pooch")
    assert "pip install 'vqnp[download]'" in error.needed and "VQNP_DATA" in error.needed
    put(tmp_path / "own", "mnist")
    fetch_images()  # what is on this machine needs no pooch


def test_the_next_mirror(server, cache, monkeypatch):
    monkeypatch.delenv("VQNP_MIRROR")
    bad = [f"{server.url}/nothing", "http://127.0.0.1:9"]
    monkeypatch.setitem(named.MIRRORS, "mnist", (*bad, f"{server.url}/mnist"))
    fetch_images()
    monkeypatch.setitem(named.MIRRORS, "mnist", tuple(bad))
    for path in cache.iterdir():
        path.unlink()
    error = refused()
    assert all(url in error.got for url in bad) and "404" in error.got


def test_a_mirror_without_a_scheme(monkeypatch):
    monkeypatch.setenv("VQNP_MIRROR", "mirror.example/data")
    assert "mirror.example/data/mnist" in refused().got


def test_a_cache_that_cannot_be_written_is_an_oserror(server, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file in the folder's place")
    with pytest.raises(OSError) as caught:
        load_dataset("mnist")
    assert not isinstance(caught.value, InputError) and server.asked == []


def test_the_import_brings_no_pooch():
    script = "import sys, vqnp.data; print({'pooch', 'requests', 'urllib.request'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_tables():
    """SHA256, DOWNLOADS and MIRRORS have the same data sets, and every data set its four files."""
    contents, downloads, mirrors = TABLES
    assert set(contents) == set(downloads) == set(mirrors) == set(NAMES)
    for name in NAMES:
        assert set(contents[name]) == set(FILES) and set(downloads[name]) == {f"{file}.gz" for file in FILES}
        hashes = (*contents[name].values(), *downloads[name].values())
        assert all(len(bytes.fromhex(digest)) == 32 for digest in hashes) and len(set(hashes)) == 8
        assert all(url.startswith("http") and not url.endswith("/") for url in mirrors[name])
