"""Damaged files, and files that are none, to every reader: one sentence or a right answer.

pytest -n 0 -s tests/test_fuzz.py tests/cli/test_wrong_options.py --mutants 10000 tries so many, and 300 calls
of the command line; by default 300 and 30.
"""

import gzip
import io
import os
import shutil
import struct

import mutants
import numpy as np
import pytest
from limits import TooSlow, limits

from vqnp import VQVAE, InputError, export, fit, load, load_dataset, load_splits
from vqnp.cli.prior_files import about, read_prior, write_chain
from vqnp.cli.runs import Run, create, open_run
from vqnp.data import open_images
from vqnp.export.codes import decode_file, encode_file, open_codes
from vqnp.priors import Markov, Transformer
from vqnp.training import Trainer

IMAGES = load_dataset("digits").images[:40]
SMALL = {"num_latents": 3, "embedding_dim": 4, "num_embeddings": 8, "hidden": (10,)}
LONGEST = 1300  # characters of a sentence


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(compressed=False, **arrays):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


class Place:
    """A folder with a run, a prior and whatever else is read, and the readers of each kind of file."""

    def __init__(self, folder):
        self.folder, self.run = folder, Run(folder / "run")
        (folder / "run").mkdir()
        with self.run.held():
            data = folder / "x.npy"
            np.save(data, IMAGES)
            from vqnp.cli import configuration, train
            from vqnp.cli.options import Parser

            several = ("hidden", "embedding_dim", "num_embeddings")  # options that take several numbers
            given = {name: np.atleast_1d(v).tolist() if name in several else v for name, v in SMALL.items()}
            args = Parser().parse_args([])
            vars(args).update(given, resume=False, force=False, data=str(data), epochs=2, batch_size=16)
            config = train._configuration(args)
            config["model"]["image_shape"] = [28, 28]
            create(self.run, config)
            model = configuration.constructor("vqvae", "mlp")(**config["model"])
            fit(model, IMAGES, **config["schedule"], progress=False, checkpoint=self.run.checkpoint)
        self.model = load(self.run.checkpoint)
        self.content = {
            "checkpoint": self.run.checkpoint.read_bytes(), "config": self.run.config.read_bytes(),
            "npy": npy(IMAGES), "npy, float": npy((IMAGES[:9] / 255).astype("f4")),
            "npy, gzipped": gzip.compress(npy(IMAGES[:9])),
            "npz": npz(x_train=IMAGES[:9], x_test=IMAGES[9:12]),
            "npz, one array": npz(a=IMAGES[:9], b=np.arange(9)),
            "npz, deflated": npz(True, images=IMAGES[:9], labels=np.arange(9)), "idx": idx(IMAGES[:9]),
            "idx, gzipped": gzip.compress(idx(IMAGES[:9])),
        }  # fmt: skip
        codes, weights, prior = folder / "codes.npz", folder / "weights.npz", folder / "prior.npz"
        encode_file(self.model, IMAGES, codes)
        export.save_torch(weights, self.model)
        self.content |= {"codes": codes.read_bytes(), "weights": weights.read_bytes()}
        self.content["codes, npy"] = npy(self.model.encode(IMAGES))
        try:
            import safetensors  # noqa: F401
        except ImportError:
            pass
        else:
            export.save_torch(folder / "w.safetensors", self.model, "safetensors")
            self.content["safetensors"] = (folder / "w.safetensors").read_bytes()
        transformer = Transformer(8, (3,), channels=4, layers=1, heads=1)
        fit(
            transformer, self.model.encode(IMAGES), epochs=1, progress=False, checkpoint=prior,
            about=about(self.model),
        )  # fmt: skip
        self.content["prior"] = prior.read_bytes()
        write_chain(self.run, Markov(self.model.encode(IMAGES), 8), self.model)
        self.content["chain"] = self.run.prior.read_bytes()

    def read(self, kind, path):
        """Read a file of this kind: what is in it, as arrays."""
        if kind == "checkpoint":
            model = load(path)
            Trainer.restore(path, IMAGES)
            open_run(path)
            return [model.state_dict()]
        if kind == "config":
            shutil.copyfile(path, self.run.config) if path.is_file() else link(path, self.run.config)
            opened = open_run(self.run.folder)
            return [opened.read_config(), opened.trained_on()]
        if kind.startswith("codes"):
            codes = open_codes(self.model, path)
            decode_file(self.model, codes, self.folder / "out.npy")
            return [codes.read()]
        if kind in ("weights", "safetensors"):
            return [export.load_torch(path).state_dict(), export.load_torch(path, VQVAE.mlp(**SMALL)) and 0]
        if kind in ("prior", "chain"):
            shutil.copyfile(path, self.run.prior) if path.is_file() else link(path, self.run.prior)
            prior = read_prior(self.run, self.model).prior
            return [prior.codes if kind == "chain" else prior.state_dict()]
        train, test = load_splits(path)
        for part in open_images(path, "test").batches(5):
            assert part.dtype == train.images.dtype
        return [train.images, test.images, train.labels]

    @staticmethod
    def suffix(kind):
        return ".safetensors" if kind == "safetensors" else ".npz"


def link(path, place):
    """Something that is no regular file, at another place too."""
    place.unlink(missing_ok=True)
    place.symlink_to(path)


def flat(value):
    """Arrays and plain values of nested dicts and lists, for comparison."""
    if isinstance(value, dict):
        return [item for name in sorted(value) for item in (name, *flat(value[name]))]
    if isinstance(value, (list, tuple)):
        return [item for each in value for item in flat(each)]
    return [(value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("place"))
    place.right = {}
    for kind, content in place.content.items():  # compiles what is to be compiled
        path = place.folder / f"right{place.suffix(kind)}"
        path.write_bytes(content)
        place.right[kind] = flat(place.read(kind, path))
    return place


def outcome(place, kind, path):
    """"" if the reader did well, else what it did."""
    try:
        with limits():
            found = place.read(kind, path)
    except InputError as error:
        text = str(error)
        return "" if len(text) < LONGEST and "\n" not in text else f"a sentence of {len(text)}: {text[:300]}"
    except OSError as error:
        return "" if error.errno is not None and error.filename is not None else f"{error!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {str(error)[:300]}"
    return found


STRUCTURED = {"checkpoint", "codes", "weights", "prior", "chain", "npz", "npz, one array"}
CHECKED = {"checkpoint", "codes", "weights", "prior", "chain", "npz", "npz, deflated", "idx, gzipped"}
"""Kinds with a checksum: where bytes changed, only the right content is read."""


def test_damaged_files(place, request):
    count = request.config.getoption("mutants")
    kinds, rng = list(place.content), np.random.default_rng(count)
    bad, read = [], 0
    for i in range(count):
        kind, content = kinds[i % len(kinds)], place.content[kinds[i % len(kinds)]]
        structured = kind in STRUCTURED and rng.random() < 0.6
        if kind == "config" and rng.random() < 0.7:
            content = mutants.of_json_text(content, rng)
        elif structured:
            content = mutants.of_npz(content, rng)
        else:
            content = mutants.of_bytes(content, rng)
        path = place.folder / f"mutant{place.suffix(kind)}"
        path.write_bytes(content)
        found = outcome(place, kind, path)
        if found and not isinstance(found, str):
            read += 1
            if kind in CHECKED and not structured and flat(found) != place.right[kind]:
                found = "other content than was written"
            else:
                found = ""
        if found:
            bad.append(f"{i} {kind}: {found}")
    print(f"{count} mutants, {read} of them read, {len(bad)} fell short")
    assert not bad, "\n".join([f"{len(bad)} of {count} fell short", *bad[:30]])


def pipe(path):
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path.name)


def text(path):
    path.write_text("not what you think\n" * 9)


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(2**40)


SPECIAL = {
    "a pipe": pipe, "a folder": lambda path: path.mkdir(), "a link to itself": loop,
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"), "empty": lambda path: path.touch(),
    "a link to nothing": lambda path: path.symlink_to("nothing"), "sparse, of a terabyte": sparse,
    "text": text, "nothing": lambda path: None, "/dev/null": lambda path: path.symlink_to("/dev/null"),
}  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_files_that_are_none(place, tmp_path):
    """Every kind of file by every kind of special file; an unreadable one where we are not root."""
    special = dict(SPECIAL)
    if os.geteuid():
        special["unreadable"] = lambda path: (path.write_bytes(b"x"), path.chmod(0))
    bad, count = [], 0
    for kind in place.content:
        for name, make in special.items():
            if kind in ("config", "prior", "chain") and name == "sparse, of a terabyte":
                continue  # this test would copy it
            path = tmp_path / f"{count}{place.suffix(kind)}"
            make(path)
            found = outcome(place, kind, path)
            count += 1
            if found or found == []:
                bad.append(f"{kind}, {name}: {found}")
    print(f"{count} special files")
    assert not bad, "\n".join(bad)
    assert count > 100


def taking(megabytes):
    return lambda *_: [np.ones(megabytes * 2**17)]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is limited on Linux only")
def test_a_reader_that_fails_is_found(place, monkeypatch):
    """One with a bug, one that takes memory, one that takes time, one with a sentence too long."""
    faults = {
        "ZeroDivisionError": lambda *_: 1 / 0, "MemoryError": taking(600), "a sentence of": long_sentence,
        "BadGzipFile": lambda *_: gzip.decompress(b"x" * 20),
    }  # fmt: skip
    for name, fault in faults.items():
        monkeypatch.setattr(place, "read", fault)
        assert outcome(place, "npy", place.folder / "x.npy").startswith(name)
    monkeypatch.setattr(place, "read", taking(200))
    assert outcome(place, "npy", place.folder / "x.npy")[0].sum() == 200 * 2**17
    with pytest.raises(TooSlow, match="more than"), limits(seconds=0.05):
        while True:
            pass


def long_sentence(*_):
    raise InputError("x" * 400, "x" * 600, "x" * 600, "x" * 600)
