"""open_stream: whatever array went into a file comes out of it, in batches of any size, or one sentence."""

import gzip
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vqnp._check import InputError
from vqnp.data import open_stream

from .idxfiles import CODES, KINDS, idx_bytes, npy_bytes, npz_bytes, zip_bytes

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


def message(content):
    with pytest.raises(InputError) as caught:
        in_file(content, open_stream)
    where, _, rest = str(caught.value).partition(": ")
    assert where.endswith("/images") and "\n" not in rest
    return rest


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
        stream = open_stream(path)
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
            stream = open_stream(path)
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
            open_stream(written(content[:n]))


@pytest.mark.parametrize("kind", KINDS)
def test_longer_than_its_header_says(kind, written):
    content = KINDS[kind](IMAGES)
    if "npz" in kind:  # a zip file may have a comment behind it, which is no part of the array
        content = zip_bytes(images=npy_bytes(IMAGES) + b"x")
    with pytest.raises(InputError):
        open_stream(written(content + b"x"))


def test_one_bit_flipped_in_gzip_is_found_before_the_first_batch(written):
    content = bytearray(gzip.compress(idx_bytes(IMAGES), 0))  # stored: the flip decompresses well
    content[-12] ^= 1
    with pytest.raises(InputError, match="CRC check failed"):
        open_stream(written(content))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["idx", "npy"])
def test_memory_does_not_grow_with_the_number_of_images(kind, tmp_path):
    path = tmp_path / "sparse"
    n = 300_000
    with open(path, "wb") as f:
        if kind == "idx":
            f.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", n, 28, 28))
        else:
            header = {"descr": "|u1", "fortran_order": False, "shape": (n, 28, 28)}
            np.lib.format.write_array_header_1_0(f, header)
        f.truncate(f.tell() + n * 784)
    tracemalloc.start()
    try:
        assert sum(len(batch) for batch in open_stream(path).batches(1000)) == n
        assert tracemalloc.get_traced_memory()[1] < 3 * 784_000 + 2**20  # of 235 MB
    finally:
        tracemalloc.stop()


def test_memory_of_a_compressed_file_does_not_grow_either(tmp_path):
    n = 50_000
    path = tmp_path / "zeros.gz"
    with gzip.open(path, "wb", 1) as f:
        f.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", n, 28, 28))
        for _ in range(n // 1000):
            f.write(bytes(784_000))
    tracemalloc.start()
    try:
        assert sum(len(batch) for batch in open_stream(path).batches(1000)) == n
        assert tracemalloc.get_traced_memory()[1] < 6 * 2**20  # of 39 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("wrap", [bytes, gzip.compress, lambda c: zip_bytes(images=c)])
def test_a_claim_of_more_than_the_file_holds_allocates_nothing(wrap, written):
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**20, 2**15, 2**10)  # 32 TiB
    path = written(wrap(header))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"must take {2**45 + 16} bytes; got 16$"):
            open_stream(path)
        assert tracemalloc.get_traced_memory()[1] < 3 * 2**20
    finally:
        tracemalloc.stop()


def test_the_name_does_not_tell_the_kind(written):
    path = written(npz_bytes(images=IMAGES), "images.idx3-ubyte.gz")
    np.testing.assert_array_equal(open_stream(path).read(), IMAGES)


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
    arrays = {name: np.full((2, 3) if name[0] != "y" else 2, i, np.uint8) for i, name in enumerate(names)}
    path = written(npz_bytes(**arrays, words=np.array(["a", "b"])))
    for split, name in (("train", train), ("test", test)):
        stream = open_stream(path, split)
        assert stream.member == name
        np.testing.assert_array_equal(stream.read(), arrays[name])


class Bomb:
    """Unpickling it fails the test."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_never_unpickles(written):
    objects = np.empty((2, 2), object)
    objects[:] = [[Bomb(), 1], [2, 3]]
    for content in (npy_bytes(objects), npz_bytes(images=objects), npz_bytes(any=objects)):
        with pytest.raises(InputError, match="objects could run code and are never read"):
            open_stream(written(content))


HUGE = bytes([0, 0, 8, 3]) + b"\xff" * 8
NUMBERS = "must hold numbers (objects could run code and are never read); got "


def npy_header(text):
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "an IDX, gzip, .npy or .npz file must begin with at least 4 bytes; got 0"),
        (
            b"\x89PNG\r\n",
            "must begin as gzip, .npy and .npz files do, or with IDX's magic number, 00 00, "
            "a type (08, 09, 0b, 0c, 0d, 0e) and the number of axes; got 89 50 4e 47",
        ),
        (bytes([0, 0, 7, 3, 0, 0]), "the number of axes; got 00 00 07 03"),
        (bytes([0, 0, 8, 3, 0, 0]), "an IDX header of 3 axes must have 16 bytes; got 6"),
        (bytes([0, 0, 8, 0]), "an array must have 1 to 32 axes; got 0"),
        (idx_bytes(IMAGES)[:-1], "uint8 of shape (2, 3, 2) and its header of 16 bytes must take 28"),
        (idx_bytes(IMAGES)[:-1], " bytes; got 27"),
        (idx_bytes(IMAGES) + b"1", "must take 28 bytes; got 29"),
        (HUGE + b"\xff" * 4, "an array must fit into memory; got shape"),
        (HUGE + b"\0" * 4, "an array must fit into memory; got shape"),
        (
            npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 2)}"),
            "every axis must be at least 0; got shape (-1, 2)",
        ),
        (npy_header("[" * 5000), "a .npy header must be NumPy's; got "),
        (npy_header("{'descr': '|u1'"), "a .npy header must be NumPy's; got "),
        (npy_bytes(np.array(["a"])), NUMBERS + "<U1"),
        (npy_bytes(np.ones(2, complex)), NUMBERS + "complex128"),
        (gzip.compress(b"12345")[:-1], "must be a sound file of its kind; got Compressed file ended"),
        (gzip.compress(idx_bytes(IMAGES)) + b"x", "must be a sound file of its kind; got Not a gzip"),
        (npz_bytes(images=IMAGES)[:-1], "must be a sound file of its kind; got "),
        (zip_bytes(zipfile.ZIP_LZMA, images=b"1"), "of its kind; got compression method 14"),
        (
            npz_bytes(a=IMAGES, b=IMAGES),
            "must hold x_train and x_test, train_images and test_images, or images, "
            "or a single array of 2 axes or more; got arrays a, b",
        ),
        (zip_bytes(), "or a single array of 2 axes or more; got no arrays"),
    ],
)
def test_sentences(content, sentence):
    assert sentence in message(content)


def test_no_such_file_split_or_size(written, tmp_path):
    with pytest.raises(InputError, match="^open_stream: path must be that of an existing file; got .*ing"):
        open_stream(tmp_path / "nothing")
    path = written(idx_bytes(IMAGES))
    with pytest.raises(InputError, match="open_stream: split must be one of 'train', 'test'; got 'dev'"):
        open_stream(path, "dev")
    with pytest.raises(InputError, match="ArrayStream.batches: size must be an integer of at least 1; got 0"):
        open_stream(path).batches(0)


@pytest.mark.parametrize("kind", KINDS)
def test_changed_since_it_was_opened(kind, written):
    path = written(KINDS[kind](IMAGES))
    stream = open_stream(path)
    content = KINDS[kind](IMAGES)
    written(content[: len(content) // 2])
    with pytest.raises(InputError):
        list(stream.batches(1))


def test_repr(written):
    assert repr(open_stream(written(idx_bytes(IMAGES)))).endswith("/images', shape (2, 3, 2), uint8)")
