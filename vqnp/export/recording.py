"""A recording of any length -> codes -> a recording, a window at a time: memory does not grow with it.

Each window is given the samples (or codes) around it that can change its own codes (or samples), and what
the network says about these is left out: so the result is that of the whole recording at once, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from vqnp._check import Array, InputError, fail
from vqnp._files import Rows, write_npz
from vqnp.data.stream import ArrayStream, find_array
from vqnp.data.wav import wav_blocks, wav_form, write_wav
from vqnp.models.sound import SoundVQVAE
from vqnp.models.sound_networks import reach

WINDOW_SAMPLES = 1 << 15
"""Samples of a window without those around it: four seconds at 8 kHz, far more than what is around it."""


def windows(parts: Iterable[Array], size: int, around: int) -> Iterator[tuple[Array, int, int]]:
    """(window, first, count): what is in parts, cut into windows of count items that begin at `first`.

    parts: arrays, one after the other -> a window is up to `around` items, count items, and up to `around`
    items or what is left; all counts but the last are size, and the last may be up to size + around
    """
    held, first = np.empty(0), 0
    for part in parts:
        held = np.concatenate([held[:0].astype(part.dtype) if not len(held) else held, part])
        while len(held) - first >= size + around:
            yield held[: first + size + around], first, size
            cut = max(0, first + size - around)
            held, first = held[cut:], first + size - cut
    if len(held) > first:
        yield held, first, len(held) - first


def encoded(model: SoundVQVAE, level: int, blocks: Iterable[Array]) -> Iterator[Array]:
    """The codes of one level of a recording, window by window: blocks of samples (t,) -> codes (m,).

    level: l, 1 for the top. Codes of the last samples are as if zeros followed, up to a multiple of the
    longest hop.
    """
    one, hop = model.levels[level - 1], model.hops[level - 1]
    around = _multiple(reach(one.encoder), hop)
    for x, first, count in windows(_padded(blocks, max(model.hops)), _window(model), around):
        sound = np.ascontiguousarray(x, model.dtype)[None, :, None]
        k = one.quantizer.encode(one.encoder.forward(sound)[0])[0]
        yield k[first // hop : (first + count) // hop]


def decoded(model: SoundVQVAE, level: int, codes: Iterable[Array]) -> Iterator[Array]:
    """The samples that the codes of one level stand for, window by window: codes (m,) -> samples (t,)."""
    one, hop = model.levels[level - 1], model.hops[level - 1]
    around = reach(one.decoder)
    for k, first, count in windows(codes, _window(model) // hop, around):
        z_q = one.quantizer.decode(k[None])
        x = model.data.clip(one.decoder.forward(z_q)[0])[0, :, 0]
        yield x[first * hop : (first + count) * hop]


def encode_recording(model: SoundVQVAE, path: str | Path, out: str | Path) -> int:
    """A WAV file of any length -> a .npz of codes_1 (m_1,), …, num_embeddings, model, samples; their number.

    m_l = ⌈T/h_1⌉ h_1/h_l. The WAV file is read once for each level, so that only one window is in memory.

    Raises
    ------
    InputError
        Not a WAV file, an empty one, or one of another rate than the model's.
    """
    form = wav_form(path)
    if form.rate != model.rate:
        needed = f"must have {model.rate} samples a second, as the model's recordings (resample it first)"
        fail(str(path), "", needed, form.rate)
    if form.samples == 0:
        fail(str(path), "", "must hold at least one sample", "none")
    T = _multiple(form.samples, max(model.hops))
    arrays: dict[str, Array | Rows] = {
        "num_embeddings": np.array(model.num_embeddings), "samples": np.array([form.samples]),
        "model": np.frombuffer(bytes.fromhex(model.fingerprint()), np.uint8),
    }  # fmt: skip
    for l, (hop, each) in enumerate(zip(model.hops, model.encodings, strict=True), 1):
        arrays[each.name] = Rows((T // hop,), each.stored_dtype, encoded(model, l, wav_blocks(path)))
    write_npz(out, arrays)
    return form.samples


def is_recording(path: str | Path) -> bool:
    """Whether a file of codes is one that encode_recording wrote."""
    try:
        return find_array(path, ["samples"]) is not None
    except InputError:
        return False


def decode_recording(model: SoundVQVAE, path: str | Path, out: IO[bytes], level: int) -> int:
    """What encode_recording wrote -> a WAV file, from the codes of one level; the number of its samples.

    Raises
    ------
    InputError
        Codes of another model, or not the whole of them.
    """
    name, where = f"codes_{level}", f"codes {path}"
    codes, owner, samples = (_array(path, one) for one in (name, "model", "samples"))
    if owner.read().tobytes().hex() != model.fingerprint():
        fail(where, "", "must be codes of this model", "codes of another model")
    T, hop = int(samples.read()[0]), model.hops[level - 1]
    if codes.shape != (_multiple(T, max(model.hops)) // hop,) or codes.dtype.kind not in "iu" or T < 1:
        needed = f"must be integers, those of {T} samples"
        fail(where, name, needed, f"{codes.dtype} of shape {codes.shape}")
    write_wav(out, _cut(decoded(model, level, _valid(where, name, codes, model, level)), T), model.rate)
    return T


def _valid(where: str, name: str, codes: ArrayStream, model: SoundVQVAE, level: int) -> Iterator[Array]:
    K = model.num_embeddings[level - 1]
    for k in codes.batches(_window(model)):
        if k.max(initial=0) >= K:
            fail(where, name, f"must be in [0, {K})", k.max())
        yield k.astype(np.int64)


def _array(path: str | Path, name: str) -> ArrayStream:
    found = find_array(path, [name])
    if found is None or not found.member:
        fail(f"codes {path}", "", f"must hold an array named '{name}', as vqnp encode writes it", "none")
    return found


def _window(model: SoundVQVAE) -> int:
    return _multiple(WINDOW_SAMPLES, max(model.hops))


def _multiple(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def _padded(blocks: Iterable[Array], unit: int) -> Iterator[Array]:
    """The blocks, and zeros after them up to a multiple of unit."""
    total = 0
    for block in blocks:
        total += len(block)
        yield block
    yield np.zeros(-total % unit, np.float32)


def _cut(blocks: Iterable[Array], total: int) -> Iterator[Array]:
    """The first `total` items of the blocks."""
    for block in blocks:
        yield block[:total]
        total -= min(total, len(block))
