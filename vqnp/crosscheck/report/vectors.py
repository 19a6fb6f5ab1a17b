"""Inputs, expected outputs and gradients as files: for a layer in a language that no adapter reaches.

DIR/manifest.json says what each file is; DIR/inputs/CASE/ARGUMENT.npy is what to compute from, and
DIR/expected/LAYER/CASE/OUTPUT.npy what comes out. Byte for byte the same at every run.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, fail
from vqnp.crosscheck.questions.calls import Outputs
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.report.checking import CONSTANTS, Allow, allowances, examine
from vqnp.crosscheck.report.quantities import MARGIN
from vqnp.crosscheck.report.report import Report
from vqnp.crosscheck.variants.reference import AVERAGES, SETTINGS, Reference

FORMAT = "vqnp-crosscheck-vectors-1"
ABOUT_DISTANCE = ("offset", "far", "bisectors", "ties")  # cases of which only k is expected, z_q being E[k]

# Of the defaults; docs/crosscheck-variants.md has those of the variants.
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


def layers(dtype: Any) -> dict[str, Reference]:
    """Name -> layer: both kinds of codebook, then each with one variant after another."""
    made = {kind: Reference(ema=kind == "ema", dtype=dtype) for kind in ("gradient", "ema")}
    for dimension, variants in SETTINGS.items():
        kind = "ema" if dimension in AVERAGES else "gradient"
        for variant in variants[1:]:
            settings: dict[str, Any] = {dimension: variant}
            made[f"{kind}-{dimension}-{variant}"] = Reference(ema=kind == "ema", dtype=dtype, **settings)
    return made


def write_vectors(out: str | Path, dtype: str = "float64") -> dict[str, Any]:
    """Write the files into a new or empty folder, all but codes of the dtype; the manifest.

    To stay small: a variant has only the files in which it is not the default, and none for the 400 steps
    of "long"; of questions about distance only k is expected.
    """
    check_choice("vectors", "dtype", dtype, ("float64", "float32"))
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail("vectors", "--out", "must be a new or empty folder", folder)
    records = {name: Record(layer) for name, layer in layers(dtype).items()}
    record, cases, about = records["gradient"], {}, {}
    for name, case in record.cases.items():
        inputs = _save_all(folder / "inputs" / name, case.arguments)
        cases[name] = {"function": case.function, "inputs": inputs, "outputs": case.shapes}
    for name, layer in records.items():
        kind, *variant = name.split("-")
        base = records[kind] if variant else None
        new = {case: _new_outputs(layer, base, case) for case in cases if case != "long" or base is None}
        place = folder / "expected" / name
        about[name] = {
            "variants": {variant[0]: variant[1]} if variant else {},
            "same_as_unless_listed": kind if variant else None,
            "expected": {case: _save_all(place / case, outputs) for case, outputs in new.items() if outputs},
        }
    manifest = {
        "format": FORMAT, "dtype": dtype, "num_embeddings": record.K, "embedding_dim": record.D,
        "settings": {name: default for name, (default, _) in CONSTANTS.items()},
        "tolerance": f"|theirs − expected| <= {MARGIN} · {np.finfo(dtype).eps:.3g} · √n · size; n: terms of "
        "the sum that an entry is, size: the largest magnitude among the terms and entries; codes: equal",
        "equations": EQUATIONS, "cases": cases, "layers": about,
    }  # fmt: skip
    text = json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return manifest


def _new_outputs(record: Record, base: Record | None, case: str) -> dict[str, Array]:
    """What a layer answers, where it is not what the default of its kind answers."""
    found = {}
    for output, a in record.get(case).items():
        b = None if base is None else base.output(case, output)
        if a is not None and (output == "k" or not case.startswith(ABOUT_DISTANCE)):
            if b is None or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                found[output] = a
    return found


def _save_all(folder: Path, arrays: dict[str, Array]) -> dict[str, Any]:
    """Each array as NAME.npy; the shape and dtype of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(array, order="C"), allow_pickle=False)
    return {name: {"shape": list(a.shape), "dtype": str(a.dtype)} for name, a in arrays.items()}


class FileRecord(Record):
    """Answers from files, which cannot be asked again."""

    repeatable = False

    def __init__(self, folder: Path, dtype: Any) -> None:
        super().__init__(Reference(dtype=dtype))
        self.folder, self.name = folder, folder.name

    def files(self, name: str) -> dict[str, Path]:
        """The files that there are for a case."""
        paths = {output: self.folder / name / f"{output}.npy" for output in self.cases[name].shapes}
        return {output: path for output, path in paths.items() if path.is_file()}

    def can(self, function: str) -> bool:
        return any(self.files(name) for name, case in self.cases.items() if case.function == function)

    def ask(self, name: str) -> Outputs:
        def load(*arguments: Array) -> dict[str, Array]:
            return {output: np.load(path, allow_pickle=False) for output, path in self.files(name).items()}

        return self.answer(f"{self.folder.name}/{name}", load, self.cases[name])


def compare(folder: Any, theirs: Any, *, allow: Allow = (), **constants: float | None) -> Report:
    """The report on answers in files: theirs/CASE/OUTPUT.npy. beta, decay, epsilon as in `check`."""
    return examine(read_answers(folder, theirs), allowances(allow), **constants)


def read_answers(folder: str | Path, theirs: str | Path) -> FileRecord:
    """What a program wrote beside the vectors in `folder`; InputError without a manifest, or any answer."""
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        fail("compare", "DIR", "must be what `vqnp crosscheck vectors` wrote", f"no {path}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        dtype = manifest["dtype"]
        if manifest["format"] != FORMAT or dtype not in ("float64", "float32"):
            raise ValueError(f"format {manifest['format']!r}, dtype {dtype!r}")
    except (ValueError, KeyError, TypeError) as error:
        fail("compare", str(path), f"must be a manifest of {FORMAT}", error)
    answers = Path(theirs)
    record = FileRecord(answers, dtype)
    if not any(record.files(case) for case in record.cases):
        fail("compare", "THEIRS", f"must have files such as {answers / 'base' / 'k.npy'}", "none of them")
    for other in sorted(p.name for p in answers.iterdir() if p.is_dir() and p.name not in record.cases):
        record.note(f"files: a folder must have the name of a case; got {other}")
    for file in sorted(file for name in record.cases for file in (answers / name).glob("*.npy")):
        if file.stem not in (*EQUATIONS, "z", "G"):  # a copy of the inputs does no harm
            names = ", ".join(EQUATIONS)
            record.note(f"files: a file must have the name of an output, {names}; got {file.name}")
    return record
