"""Damaged copies of files, from a seed: bytes that changed, and other content under right checksums."""

import io
import json
import warnings
import zipfile

import numpy as np

INTEGERS = (0, 1, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
JUNK = (
    None, True, -1, 0, 1, 2.5, 1e308, -1e308, 10**30, 2**63, "", "x", "x" * 10_000, [], {}, [1, 2], [[0]],
    "\0", {"module": "Linear"}, float("nan"), [20_000, 20_000], "../x", 20_000,
)  # fmt: skip


def of_bytes(content, rng):
    """Some bytes changed, lost, doubled or added; half of the time near an end, where the headers are."""
    content = bytearray(content)
    for _ in range(1 + int(rng.random() < 0.3)):
        n = max(1, len(content))
        near = int(rng.integers(min(n, 200)))
        at = [near, max(0, n - 1 - near), int(rng.integers(n)), int(rng.integers(n))][rng.integers(4)]
        length = int(rng.integers(1, 1 + min(64, n)))
        kind = rng.integers(9)
        if kind == 0 and content:
            content[min(at, len(content) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            content[at : at + length] = rng.bytes(length)
        elif kind == 2:
            content[at : at + length] = bytes([int(rng.choice([0, 255]))]) * length
        elif kind == 3:
            del content[at:]
        elif kind == 4:
            del content[at : at + length]
        elif kind == 5:
            content[at:at] = rng.bytes(length)
        elif kind == 6:
            content[at:at] = content[at : at + length] * int(rng.integers(1, 4))
        elif kind == 7:
            content += rng.bytes(length)
        else:
            size = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice(np.array(INTEGERS, object))) % 256**size
            content[at : at + size] = number.to_bytes(size, ["little", "big"][rng.integers(2)])
    return bytes(content)


def of_json(value, rng):
    """A JSON value in which one entry, at any depth, is lost, doubled, renamed or something else."""
    places = list(_places(value))
    if not places:
        return JUNK[rng.integers(len(JUNK))]
    holder, key = places[rng.integers(len(places))]
    kind = rng.integers(5)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[str(key) + "x"] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.append(holder[key])
    elif kind == 3 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        x = holder[key]
        holder[key] = [x * 1000, -x, x + 1, 1 / (1 + x**2)][rng.integers(4)]
    else:
        holder[key] = JUNK[rng.integers(len(JUNK))]
    return value


def _places(value):
    if isinstance(value, dict):
        items = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list) else []
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def of_json_text(content, rng):
    return json.dumps(of_json(json.loads(content), rng)).encode()


def of_array(array, rng):
    """Another array in an array's place: of other numbers, another shape, another type."""
    kind = rng.integers(9)
    if kind == 0:
        return array.astype(str(rng.choice(["i1", "u2", "i8", "f2", "f4", "f8", ">f4", "c8", "U3", "?"])))
    if kind == 1:
        return array[..., None]
    if kind == 2:
        return array.reshape(-1)[: int(rng.integers(max(1, array.size)))]
    if kind == 3:
        return array.T
    if kind == 4:
        return np.array(rng.choice([0, -1, 2**62]))
    if kind == 5:
        return np.zeros((0, *array.shape), array.dtype)
    if kind == 6 and array.dtype.kind == "f":
        return np.full_like(array, rng.choice([np.nan, np.inf, 1e30, 0]))
    if kind == 7 and array.dtype.kind in "iu":
        return np.full_like(array, np.iinfo(array.dtype).max)
    return np.concatenate([array, array]) if array.ndim else array[None]


def of_npz(content, rng):
    """An archive of right checksums in which a member is lost, renamed, doubled, or something else."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = int(rng.integers(len(members)))
    name, data = members[at]
    kind = rng.integers(8)
    if kind == 0:
        del members[at]
    elif kind == 1:
        other = [name + "x.npy", "x" * 3000 + ".npy", "a/../b.npy", "meta.npy", "é.npy"]
        members[at] = str(rng.choice(other)), data
    elif kind == 2:
        members.append((str(rng.choice(["more.npy", "model.x.npy", "trainer.order.npy"])), data))
    elif kind == 3:
        members[at] = name, of_bytes(data, rng)
    else:
        array = np.load(io.BytesIO(data), allow_pickle=False)
        if array.dtype.kind == "U":
            array = np.array(of_json_text(str(array).encode(), rng).decode())
        else:
            with np.errstate(all="ignore"):
                array = of_array(array, rng)
        file = io.BytesIO()
        np.save(file, array)
        members[at] = name, file.getvalue()
    file = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one name twice
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()
