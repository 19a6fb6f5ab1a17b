"""Inputs, expected outputs and gradients as files: for a layer in a language that no adapter reaches.

DIR/manifest.json says what each file is; DIR/inputs/CASE/ARGUMENT.npy is what to compute from, and
DIR/expected/LAYER/CASE/OUTPUT.npy what comes out. Byte for byte the same at every run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, fail
from vqnp.crosscheck.calls import Outputs
from vqnp.crosscheck.checking import Allow, allowances, examine
from vqnp.crosscheck.distance import distance_cases
from vqnp.crosscheck.plan import OUTPUTS, Case
from vqnp.crosscheck.quantities import MARGIN
from vqnp.crosscheck.record import Record
from vqnp.crosscheck.reference import SETTINGS, Reference
from vqnp.crosscheck.report import Report

FORMAT = "vqnp-crosscheck-vectors-1"
AVERAGES = ("codes", "start", "zero_debias", "write_back", "smoothing")
"""Dimensions of a codebook that follows by moving averages."""

EQUATIONS = {
    "k": "k_n = argmin_j Σ_d (z_nd − e_jd)², the lowest j of equals; (N,) int64, from 0",
    "z_q": "z_q,n = e_{k_n}; (N, D)",
    "L": "gradient codebook: ⟨(sg z − e)²⟩ + β⟨(z − sg e)²⟩; moving averages: β⟨(z − sg e)²⟩; ⟨⟩: mean",
    "perplexity": "exp(−Σ_j p_j log p_j), p_j = share of the N vectors with code j",
    "dz": "∂(L + ⟨G, z_q⟩)/∂z, z_q being z + sg(z_q − z); (N, D)",
    "dE": "∂(L + ⟨G, z_q⟩)/∂E; (K, D); none where E follows by moving averages",
    "E": "function step: start a new layer at E, train on z[0], z[1], …; the codebook after each; (T, K, D)",
    "N": "N ← γN + (1 − γ)n from N = 1, n_j = how many of the batch have code j; (T, K)",
    "m": "m ← γm + (1 − γ)s from m = e, s_j = Σ z of code j; E = m/Ñ, Ñ = (N + ε)/(ΣN + Kε)·ΣN; (T, K, D)",
}
"""Of the defaults; docs/crosscheck-variants.md has those of the variants."""


def layers(dtype: Any) -> dict[str, Reference]:
    """Name -> layer: both kinds of codebook, then each with one variant after another."""
    made = {"gradient": Reference(dtype=dtype), "ema": Reference(ema=True, dtype=dtype)}
    for dimension, variants in SETTINGS.items():
        ema = dimension in AVERAGES
        for variant in variants[1:]:
            name = f"{'ema' if ema else 'gradient'}-{dimension}-{variant}"
            made[name] = Reference(ema=ema, dtype=dtype, **{dimension: variant})  # type: ignore[arg-type]
    return made


def write_vectors(out: str | Path, dtype: str = "float64") -> dict[str, Any]:
    """Write the files into a new or empty folder.

    To stay small: a variant has only the files in which it is not the default, and none for the 400 steps
    of "long"; of questions about distance only k is expected, as z_q is E[k].

    Parameters
    ----------
    out : path
    dtype : "float64" or "float32"
        Of all arrays but codes.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    InputError
        The folder holds something, or the dtype is another.
    """
    where = "vectors"
    check_choice(where, "dtype", dtype, ("float64", "float32"))
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail(where, "--out", "must be a new or empty folder", folder)
    made = layers(dtype)
    record = Record(made["gradient"])
    about_distance = distance_cases(record.K, record.D, record.dtype, 0, free=record.free)
    inputs = {name: _save_all(folder / "inputs" / name, c.arguments) for name, c in record.cases.items()}
    expected: dict[str, dict[str, Any]] = {}
    answers: dict[str, dict[str, Outputs]] = {}
    for name, layer in made.items():
        base = answers.get(name.split("-")[0], {})
        answers[name] = _answers(layer)
        expected[name] = {}
        for case, outputs in answers[name].items():
            if base and case == "long":
                continue
            if case in about_distance:
                outputs = {"k": outputs["k"]}
            new = {
                o: a for o, a in outputs.items() if a is not None and not _same(a, base.get(case, {}).get(o))
            }
            if new:
                expected[name][case] = _save_all(folder / "expected" / name / case, new)
    manifest = {
        "format": FORMAT,
        "dtype": dtype,
        "num_embeddings": record.K,
        "embedding_dim": record.D,
        "settings": {"beta": 0.25, "decay": 0.99, "epsilon": 1e-5},
        "tolerance": f"|theirs − expected| <= {MARGIN} · {np.finfo(dtype).eps:.3g} · √n · size; n: terms of "
        "the sum that an entry is, size: the largest magnitude among the terms and entries; codes: equal",
        "equations": EQUATIONS,
        "cases": {
            name: {"function": case.function, "inputs": inputs[name], "outputs": _shapes(case)}
            for name, case in record.cases.items()
        },
        "layers": {
            name: {
                "variants": {d: v for d, v in layer.v.items() if f"{d}-{v}" in name},
                "same_as_unless_listed": name.split("-")[0] if "-" in name else None,
                "expected": expected[name],
            }
            for name, layer in made.items()
        },
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return manifest


def read_answers(folder: str | Path, theirs: str | Path) -> FileRecord:
    """What a program wrote beside the vectors in `folder`, as `examine` takes it.

    Raises
    ------
    InputError
        There is no manifest, or not a file of answers.
    """
    where = "compare"
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        fail(where, "DIR", "must be what `vqnp crosscheck vectors` wrote", f"no {path}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']!r}")
        dtype = manifest["dtype"]
        if dtype not in ("float64", "float32"):
            raise ValueError(f"dtype {dtype!r}")
    except (ValueError, KeyError, TypeError) as error:
        fail(where, str(path), f"must be a manifest of {FORMAT}", error)
    answers = Path(theirs)
    record = FileRecord(answers, dtype, answers.name)
    if not any(record.files(case) for case in record.cases):
        fail(where, "THEIRS", f"must have files such as {answers / 'base' / 'k.npy'}", "none of them")
    for other in sorted(p.name for p in answers.iterdir() if p.is_dir() and p.name not in record.cases):
        record.note([f"files: a folder must have the name of a case; got {other}"])
    known = {*EQUATIONS, "z", "G"}  # a copy of the inputs does no harm
    for name in record.cases:
        for other in sorted(p.name for p in (answers / name).glob("*.npy") if p.stem not in known):
            needed = f"files: a file must have the name of an output, {', '.join(EQUATIONS)}"
            record.note([f"{needed}; got {other}"])
    return record


def compare(
    folder: str | Path, theirs: str | Path, *, allow: Allow = (), **constants: float | None
) -> Report:
    """The report on answers in files: theirs/CASE/OUTPUT.npy. beta, decay, epsilon as in `check`."""
    record = read_answers(folder, theirs)
    given = {name: constants.get(name) for name in ("beta", "decay", "epsilon")}
    return examine(record, allowed=allowances(allow), **given)


class FileRecord(Record):
    """Answers from files, which cannot be asked again."""

    def __init__(self, folder: Path, dtype: Any, name: str) -> None:
        super().__init__(Reference(dtype=dtype, name=name))
        self.folder, self.live = folder, False

    def files(self, name: str) -> dict[str, Path]:
        """The files that there are for a case."""
        paths = {o: self.folder / name / f"{o}.npy" for o in OUTPUTS[self.cases[name].function]}
        return {output: path for output, path in paths.items() if path.is_file()}

    def can(self, function: str) -> bool:
        if not hasattr(self, "folder"):  # while Record is made
            return super().can(function)
        return any(self.files(name) for name, case in self.cases.items() if case.function == function)

    def get(self, name: str) -> Outputs:
        if name not in self._answers:
            case = self.cases.get(name)
            self._answers[name] = {} if case is None else self._read(name, case)
            if name == "base" and case is not None:
                self._notice_float32(case, self._answers[name])
        return self._answers[name]

    def _read(self, name: str, case: Case) -> Outputs:
        files = self.files(name)

        def load(*arguments: Array) -> dict[str, Array]:
            return {output: np.load(path, allow_pickle=False) for output, path in files.items()}

        return self.answer(f"{self.folder.name}/{name}", load, case)


def _answers(layer: Reference) -> dict[str, Outputs]:
    record = Record(layer)
    return {name: record.get(name) for name, case in record.cases.items() if record.can(case.function)}


def _same(a: Array, b: Array | None) -> bool:
    return b is not None and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _shapes(case: Case) -> dict[str, Any]:
    return {name: list(shape) for name, shape in case.shapes.items()}


def _save_all(folder: Path, arrays: dict[str, Any]) -> dict[str, Any]:
    """Each array as NAME.npy; the shape and dtype of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(array, order="C"), allow_pickle=False)
    return {n: {"shape": list(np.shape(a)), "dtype": str(np.asarray(a).dtype)} for n, a in arrays.items()}
