"""open_array: whatever array went into a file comes out of it, in batches of any size, or one sentence."""

import gzip
import struct
import tempfile
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vqnp._check import InputError
from vqnp._files import Rows, write_npy, write_npz
from vqnp.data.stream import find_array, open_array

from .idxfiles import CODES, KINDS, idx_bytes, npy_bytes, npz_bytes, zip_bytes

opened = partial(open_array, names=("images",))
IMAGES = np.arange(2 * 3 * 2, dtype=np.uint8).reshape(2, 3, 2)


@pytest.fixture
def written(tmp_path):
    def write(content, name="images"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def in_file(content, use):
    """use(path) of a file with this content (hypothesis wants no fixtures of a test's length)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images")
        path.write_bytes(content)
        return use(path)


def refused(content):
    """The error that opening a file with this content raises."""
    with pytest.raises(InputError) as caught:
        in_file(content, opened)
    assert caught.value.where.endswith("/images") and "\n" not in str(caught.value)
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(
    array=st.sampled_from([np.dtype(t) for t in CODES]).flatmap(
        lambda t: hnp.arrays(t, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    ),
    size=st.integers(1, 7),
)
@settings(deadline=None, max_examples=40)
def test_round_trip(kind, array, size):
    def use(path):
        stream = opened(path)
        assert stream.shape == array.shape and stream.dtype == array.dtype and len(stream) == len(array)
        for _ in range(2):  # reopened
            batches = list(stream.batches(size))
            assert all(len(b) == size for b in batches[:-1]) and all(0 < len(b) <= size for b in batches[-1:])
            for batch in batches:
                assert batch.dtype == array.dtype and batch.dtype.isnative
                assert batch.flags.c_contiguous and batch.flags.writeable
            joined = np.concatenate([np.empty((0, *array.shape[1:]), array.dtype), *batches])
            np.testing.assert_array_equal(joined, array)
        np.testing.assert_array_equal(stream.read(), array)

    in_file(KINDS[kind](array), use)


@pytest.mark.slow
@given(st.data())
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_an_array_or_a_sentence(data):
    """Damage at any place: never another exception."""
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    content = bytearray(KINDS[kind](IMAGES))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    def use(path):
        try:
            stream = opened(path)
            assert stream.read().shape == stream.shape
        except InputError as error:
            assert "\n" not in str(error)

    in_file(bytes(content), use)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_truncated_anywhere(kind, written):
    content = KINDS[kind](IMAGES)
    for n in range(len(content)):
        with pytest.raises(InputError):
            opened(written(content[:n]))


@pytest.mark.parametrize("kind", KINDS)
def test_longer_than_its_header_says(kind, written):
    content = KINDS[kind](IMAGES)
    if "npz" in kind:  # a zip file may have a comment behind it, which is no part of the array
        content = zip_bytes(images=npy_bytes(IMAGES) + b"x")
    with pytest.raises(InputError):
        opened(written(content + b"x"))


def test_one_bit_flipped_in_gzip_is_found_before_the_first_batch():
    content = bytearray(gzip.compress(idx_bytes(IMAGES), 0, mtime=0))  # stored: the flip decompresses well
    content[-12] ^= 1
    assert "CRC check failed" in refused(content).got


def test_one_bit_flipped_in_an_uncompressed_npz_is_found_before_the_first_batch():
    content = npz_bytes(False, images=IMAGES)
    at = content.index(IMAGES.tobytes())
    error = refused(content[:at] + b"\xff" + content[at + 1 :])
    assert error.needed == "must be whole and unchanged" and "Bad CRC-32" in error.got


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["idx", "npy", "npz"])
def test_memory_does_not_grow_with_the_number_of_images(kind, tmp_path):
    path = tmp_path / "sparse"
    n = 300_000
    batch = np.zeros((1000, 28, 28), np.uint8)
    zeros = Rows((n, 28, 28), batch.dtype, (batch for _ in range(n // 1000)))
    if kind == "npz":
        write_npz(path, {"images": zeros})
    else:
        with open(path, "wb") as f:
            if kind == "idx":
                f.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", n, 28, 28))
                f.truncate(f.tell() + n * 784)
            else:
                write_npy(f, zeros)
    assert peak_of_opening(path) < 3 * 784_000 + 2**21  # of 235 MB


def peak_of_opening(path):
    tracemalloc.start()
    try:
        stream = opened(path)
        assert sum(len(batch) for batch in stream.batches(1000)) == len(stream)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_compressed_file_is_in_memory_once(tmp_path):
    n = 20_000
    path = tmp_path / "zeros.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", n, 28, 28) + bytes(n * 784), 1))
    assert peak_of_opening(path) < 1.2 * n * 784 + 8 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [gzip.compress, lambda c: zip_bytes(images=c)])
def test_few_bytes_that_expand_to_many_do_not_fill_the_memory(wrap, written):
    path = written(wrap(idx_bytes(IMAGES) + bytes(50_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            opened(path)
        assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("wrap", [bytes, gzip.compress, lambda c: zip_bytes(images=c)])
def test_a_claim_of_more_than_the_file_holds_allocates_nothing(wrap, written):
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**20, 2**15, 2**10)  # 32 TiB
    path = written(wrap(header))
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            opened(path)
        assert f"must have {2**45 + 16} bytes" in caught.value.needed and caught.value.got == "16 bytes"
        assert tracemalloc.get_traced_memory()[1] < 3 * 2**20
    finally:
        tracemalloc.stop()


def test_the_name_does_not_tell_the_kind(written):
    path = written(npz_bytes(images=IMAGES), "images.idx3-ubyte.gz")
    np.testing.assert_array_equal(opened(path).read(), IMAGES)


@pytest.mark.parametrize(
    "names, train, test",
    [
        (["x_train", "y_train", "x_test", "y_test"], "x_train", "x_test"),
        (["train_images", "test_images", "images"], "train_images", "test_images"),
        (["images", "other"], "images", "images"),
        (["whatever"], "whatever", "whatever"),
        (["x_train", "y_train"], "x_train", "x_train"),
    ],
)
def test_which_member_of_npz(names, train, test, written):
    """The first of the names that there is, else the only array of two axes or more."""
    arrays = {name: np.full((2, 3) if name[0] != "y" else 2, i, np.uint8) for i, name in enumerate(names)}
    path = written(npz_bytes(**arrays, words=np.array(["a", "b"])))
    for split, name in (("train", train), ("test", test)):
        stream = open_array(path, (f"x_{split}", f"{split}_images", "images"))
        assert stream.member == name
        np.testing.assert_array_equal(stream.read(), arrays[name])


class Bomb:
    """Unpickling it fails the test."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_never_unpickles():
    objects = np.empty((2, 2), object)
    objects[:] = [[Bomb(), 1], [2, 3]]
    for content in (npy_bytes(objects), npz_bytes(images=objects), npz_bytes(any=objects)):
        assert "objects could run code and are never read" in refused(content).needed


def npy_header(text):
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "content, needed, got",
    [
        (b"", "must have at least 4 bytes", "0 bytes"),
        (b"%PDF-1", "must begin as gzip, .npy and .npz files do, or with IDX's magic", "25 50 44 46"),
        (b"\x89PNG\r\n", "must be an array (np.save of np.stack", "a single picture"),
        (bytes([0, 0, 7, 3, 0, 0]), "a type (08, 09, 0b, 0c, 0d, 0e) and the number of axes", "00 00 07 03"),
        (bytes([0, 0, 8, 3, 0, 0]), "must have an IDX header of 16 bytes for its 3 axes", "6 bytes"),
        (bytes([0, 0, 8, 0]), "must hold an array of at least one axis", "a single number"),
        (idx_bytes(IMAGES)[:-1], "28 bytes, as its header says (uint8 of shape (2, 3, 2))", "27 bytes"),
        (idx_bytes(IMAGES) + b"1", "must have 28 bytes", "29 bytes"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 8 + b"\0" * 4, "must be whole and unchanged", ""),
        (bytes([0, 0, 8, 200]) + b"\0" * 800, "must be whole and unchanged", "200"),
        (npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 0)}"), "whole", "negative"),
        (npy_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**30}, 0)}}"), "whole", ""),
        (npy_header("[" * 5000), "must have a .npy header", ""),
        (npy_header("{'descr': '|u1'"), "must have a .npy header", ""),
        (npy_header("{'descr'\n"), "must have a .npy header", ""),
        (npy_bytes(np.array(["a"])), "must hold numbers", "<U1"),
        (npy_bytes(np.ones(2, complex)), "must hold numbers", "complex128"),
        (gzip.compress(b"12345", mtime=0)[:-1], "must be whole and unchanged", "Compressed file ended"),
        (gzip.compress(idx_bytes(IMAGES), mtime=0) + b"x", "must be whole and unchanged", "Not a gzip"),
        (npz_bytes(images=IMAGES)[:-1], "must be whole and unchanged", "not a zip file"),
        (zip_bytes(zipfile.ZIP_LZMA, images=b"1"), "must be compressed by deflate or not", "method 14"),
        (npz_bytes(a=IMAGES, b=IMAGES), "or a single array of 2 axes or more", "arrays a, b"),
        (zip_bytes(), "must hold x_train and x_test, train_images and test_images, or images", "no arrays"),
    ],
)
def test_what_is_refused(content, needed, got):
    error = refused(content)
    assert error.argument == "" and needed in error.needed and got in str(error.got)
    assert len(str(error)) < 600


def test_no_such_file(tmp_path):
    with pytest.raises(InputError) as caught:
        opened(tmp_path / "nothing")
    assert caught.value.where == str(tmp_path / "nothing") and caught.value.got == "no such file"


def test_batches_of_no_rows(written):
    with pytest.raises(InputError) as caught:
        opened(written(idx_bytes(IMAGES))).batches(0)
    assert (caught.value.where, caught.value.argument) == ("ArrayStream.batches", "size")


def test_find_array_has_no_other_choice(written):
    path = written(npz_bytes(images=IMAGES))
    assert find_array(path, ("labels",)) is None
    assert find_array(path, ("labels", "images")).member == "images"


@pytest.mark.parametrize("kind", KINDS)
def test_changed_since_it_was_opened(kind, written):
    """A mapped file is refused; of a compressed one, all that was opened is in memory."""
    content = KINDS[kind](IMAGES)
    stream = opened(written(content))
    written(content[: len(content) // 2])
    if "gz" in kind or kind in ("npz, compressed", "npz, Fortran order"):
        np.testing.assert_array_equal(stream.read(), IMAGES)
    else:
        with pytest.raises(InputError):
            list(stream.batches(1))


def test_repr(written):
    assert repr(opened(written(idx_bytes(IMAGES)))).endswith("/images', shape (2, 3, 2), uint8)")
