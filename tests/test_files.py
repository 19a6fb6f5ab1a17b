"""vqnp._files: arrays written to files and read back; what the bytes do not support is refused."""

import json
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vqnp._check import InputError
from vqnp._files import Rows, atomic, read_npz, write_arrays, write_npy, write_npz

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.asfortranarray(np.eye(3)),
    "text": np.array("é"),
}
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@pytest.fixture
def path(tmp_path):
    write_npz(tmp_path / "x.npz", ARRAYS)
    return tmp_path / "x.npz"


def refused(path):
    with pytest.raises(InputError) as caught:
        read_npz("here", path)
    error = caught.value
    assert error.where.startswith("here") and error.needed.startswith("must") and "\n" not in str(error)
    return error


@pytest.mark.slow
@given(
    st.dictionaries(
        st.text("abc.", min_size=1, max_size=5),
        st.sampled_from(["f4", "f8", "u1", "i8", "?", "U3", "c16", ">f4"]).flatmap(
            lambda t: hnp.arrays(np.dtype(t), SHAPES)
        ),
        max_size=3,
    )
)
@settings(deadline=None, max_examples=60)
def test_what_was_written_is_read(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    write_npz(path, arrays)
    with np.load(path, allow_pickle=False) as plain:
        for read in (read_npz("here", path), plain):
            assert list(read) == list(arrays)
            for name, array in arrays.items():
                assert read[name].dtype == array.dtype
                np.testing.assert_array_equal(read[name], array)
    for array in read_npz("here", path).values():
        assert array.flags.aligned and array.flags.writeable


def test_somebody_elses_npz_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", **ARRAYS)
    for name, array in read_npz("here", tmp_path / "x.npz").items():
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_the_same_content_has_the_same_bytes(path, tmp_path):
    write_npz(tmp_path / "y.npz", {name: array.copy("K") for name, array in ARRAYS.items()})
    assert (tmp_path / "y.npz").read_bytes() == path.read_bytes()


def test_rows_that_come_in_parts_give_the_bytes_of_the_whole(tmp_path):
    whole = np.arange(30, dtype=np.uint16).reshape(10, 3)
    rows = Rows(whole.shape, whole.dtype, (whole[i : i + 4] for i in range(0, 10, 4)))
    write_npz(tmp_path / "whole.npz", {"k": whole})
    write_npz(tmp_path / "parts.npz", {"k": rows})
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "parts.npz").read_bytes()
    with atomic(tmp_path / "parts.npy") as file:
        write_npy(file, Rows(whole.shape, whole.dtype, [whole[::-1][::-1]]))
    np.testing.assert_array_equal(np.load(tmp_path / "parts.npy"), whole)


def test_meta_is_a_json_text(tmp_path):
    write_arrays(tmp_path / "x.npz", {"note": [1, "é"]}, ARRAYS)
    assert json.loads(str(read_npz("here", tmp_path / "x.npz").pop("meta"))) == {"note": [1, "é"]}


@pytest.mark.slow
def test_truncated_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path)


@pytest.mark.slow
@given(st.data())
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_the_arrays_or_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    write_npz(path, ARRAYS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read = read_npz("here", path)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
    else:
        for array in read.values():
            assert any(array.tobytes() == same.tobytes() for same in ARRAYS.values())


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + b"0" * 99, b"hello\n"])
def test_a_file_that_is_no_npz(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    error = refused(tmp_path / "x")
    assert error.where == "here" and error.needed == "must be an .npz file, whole and unchanged"
    assert error.got == "File is not a zip file"


def test_a_place_without_a_file(tmp_path):
    assert refused(tmp_path / "no.npz").got == "no such file"
    assert refused(tmp_path).got == "a folder"
    if hasattr(os, "mkfifo"):  # opening it would wait for ever for somebody to write
        os.mkfifo(tmp_path / "pipe")
        assert refused(tmp_path / "pipe").got == "no regular file"


def test_an_object_is_never_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", evil=np.array([print], dtype=object))
    error = refused(tmp_path / "x.npz")
    assert error.where == "here: evil.npy" and error.got == "a pickled object"


def test_compressed_members_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(1000))
    assert refused(tmp_path / "x.npz").needed == "must be an uncompressed .npy member"


def with_members(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(header, content=b""):
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


@pytest.mark.parametrize(
    "header, needed, got",
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (40000000000, 3)}", "must have 4800000", "bytes"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "must have ", "bytes"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 0)}", "whole and unchanged", "negative"),
        (f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30}, 0)}}", "whole and unchanged", ""),
        ("{'descr'\n", "must have a .npy header", ""),
        ("[" * 5000, "must have a .npy header", ""),
        ("x" * 9000, "must have a .npy header", ""),
    ],
)
def test_a_header_that_the_bytes_do_not_support(tmp_path, header, needed, got):
    error = refused(with_members(tmp_path / "x.npz", {"a.npy": npy(header)}))
    assert error.where == "here: a.npy" and needed in error.needed and got in error.got
    assert len(str(error)) < 600


def test_a_long_name_does_not_make_a_long_sentence(tmp_path):
    assert len(str(refused(with_members(tmp_path / "x.npz", {"n" * 9000: b""})))) < 600


def test_members_that_overlap_do_not_fill_the_memory(tmp_path):
    """300 entries of the directory for one member's bytes: together 300 times the file.

    Newer versions of zipfile notice themselves that entries overlap.
    """
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        with archive.open("a.npy", "w") as member:
            write_npy(member, np.zeros(10_000))
        archive.filelist.extend(archive.filelist * 299)
    error = refused(tmp_path / "x.npz")
    if "verlap" in error.got:
        assert error.needed == "must be an .npz file, whole and unchanged"
    else:
        assert error.needed == "must be as long as its members together" and "members of 24" in error.got


def test_a_write_that_fails_leaves_what_was(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), atomic(path) as file:
        file.write(b"half")
        assert path.read_bytes() == b"before"
        raise RuntimeError
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["f"]
    with atomic(path) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after" and os.listdir(tmp_path) == ["f"]
