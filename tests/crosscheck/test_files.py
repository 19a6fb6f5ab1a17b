"""Vectors for other languages: the same bytes at every run, and a program that only knows the files."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vqnp import InputError
from vqnp.cli import main
from vqnp.crosscheck.report.vectors import compare, layers, write_vectors


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors") / "v"
    write_vectors(folder)
    return folder


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_same_bytes_at_every_run_and_few_of_them(tmp_path, dtype):
    trees = []
    for name in "ab":
        write_vectors(tmp_path / name, dtype)
        trees.append(tree(tmp_path / name))
    assert trees[0] == trees[1]
    assert sum(map(len, trees[0].values())) < 5_000_000


def test_the_same_bytes_whatever_the_number_of_threads(vectors, tmp_path):
    """A BLAS that shares a product out adds it up otherwise, and an expanded distance shows it."""
    for threads in ("1", "2"):
        command = [sys.executable, "-m", "vqnp", "crosscheck", "vectors", "--out", str(tmp_path / threads)]
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        env = os.environ | dict.fromkeys(names, threads)
        subprocess.run(command, check=True, capture_output=True, env=env)
        assert tree(tmp_path / threads) == tree(vectors)


def test_the_manifest_tells_of_every_file(vectors):
    manifest = json.loads((vectors / "manifest.json").read_text(encoding="utf-8"))
    listed = {"manifest.json"}
    for case, about in manifest["cases"].items():
        for name, array in about["inputs"].items():
            listed.add(file := f"inputs/{case}/{name}.npy")
            a = np.load(vectors / file)
            assert list(a.shape) == array["shape"] and a.dtype == array["dtype"] == "float64"
        assert set(about["outputs"]) <= set(manifest["equations"])
    for layer, about in manifest["layers"].items():
        for case, outputs in about["expected"].items():
            for name, array in outputs.items():
                listed.add(file := f"expected/{layer}/{case}/{name}.npy")
                a = np.load(vectors / file)
                assert list(a.shape) == array["shape"] == manifest["cases"][case]["outputs"][name]
                assert a.dtype == array["dtype"]
    assert listed == set(tree(vectors))


def test_every_variant_of_the_reference_is_there(vectors):
    manifest = json.loads((vectors / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["layers"]) == set(layers("float64"))
    for name, about in manifest["layers"].items():
        assert about["expected"], f"{name} is nowhere different from the default"
        assert (about["same_as_unless_listed"] is None) == (name in ("gradient", "ema"))


def program(vectors, out, bug=None):
    """Somebody's program in plain loops: it knows the files and the paper, and nothing of vqnp."""
    for case in sorted(p.name for p in (vectors / "inputs").iterdir()):
        z, E = (np.load(vectors / "inputs" / case / f"{name}.npy") for name in ("z", "E"))
        if z.ndim == 3 or len(E) > 11:
            continue  # neither moving averages nor the questions about distance
        k = [min(range(len(E)), key=lambda j: (math.fsum((a - b) ** 2 for a, b in zip(v, E[j]))), default=0) for v in z]  # fmt: skip  # noqa: E501, B023
        r = z - E[k]
        p, q = (1, 0.25) if bug == "swapped" else (0.25, 1)
        L, w = (p + q) * (r**2).mean(), 2 / r.size
        (out / case).mkdir(parents=True)
        save = lambda name, a: np.save(out / case / f"{name}.npy", np.asarray(a))  # noqa: B023
        save("k", np.array(k) + (bug == "from one"))
        save("z_q", E[k])
        save("L", L if bug != "nan" else np.nan)
        if (file := vectors / "inputs" / case / "G.npy").exists():
            dE = np.zeros_like(E)
            for n, j in enumerate(k):
                dE[j] -= w * q * r[n]
            save("dz", np.load(file) + w * p * r)
            save("dE", dE if bug != "shape" else dE.T)


def test_a_program_in_another_language_conforms(vectors, tmp_path):
    program(vectors, tmp_path / "theirs")
    report = compare(vectors, tmp_path / "theirs")
    assert report.ok, report
    assert report.fingerprint["beta_on"] == "commitment" and report.fingerprint["start"] is None
    assert report.constants["beta"] == pytest.approx(0.25)
    results = {row.quantity: row.result for row in report.rows}
    assert results["dE"] == "pass" and results["E after 1 step"] == "not checked"


def test_a_bug_in_files_is_named(vectors, tmp_path):
    program(vectors, tmp_path / "theirs", "swapped")
    report = compare(vectors, tmp_path / "theirs")
    assert not report.ok and report.fingerprint["beta_on"] == "codebook"
    assert any("taming-transformers" in line for line in report.advice())
    assert compare(vectors, tmp_path / "theirs", allow={"beta_on": "codebook"}).ok


def test_a_program_that_has_no_gradient_of_the_codebook_raises_no_alarm(vectors, tmp_path):
    program(vectors, tmp_path / "theirs")
    for file in (tmp_path / "theirs").rglob("dE.npy"):
        file.unlink()
    report = compare(vectors, tmp_path / "theirs")
    assert report.fingerprint["beta_on"] == "commitment" and report.fingerprint["leak"] is None
    assert report.ok and not report.advice()


@pytest.mark.parametrize(
    ("bug", "sentence"),
    [
        ("from one", "k must be in [0, "),
        ("nan", "L must be finite; got nan"),
        ("shape", "dE must have shape (11, 6); got shape (6, 11)"),
    ],
)
def test_what_is_wrong_with_the_files_is_said(vectors, tmp_path, bug, sentence):
    program(vectors, tmp_path / "theirs", bug)
    report = compare(vectors, tmp_path / "theirs")
    assert not report.ok and any(sentence in fault for fault in report.faults), report.faults


def test_a_file_that_is_no_array_and_a_folder_that_is_no_case_are_said(vectors, tmp_path):
    program(vectors, tmp_path / "theirs")
    (tmp_path / "theirs" / "base" / "z_q.npy").write_bytes(b"rubbish")
    (tmp_path / "theirs" / "bases").mkdir()
    faults = " ".join(compare(vectors, tmp_path / "theirs").faults)
    assert "theirs/base: raised" in faults and "must have the name of a case; got bases" in faults


def test_a_file_that_is_no_output_is_said(vectors, tmp_path):
    program(vectors, tmp_path / "theirs")
    (tmp_path / "theirs" / "base" / "L.npy").rename(tmp_path / "theirs" / "base" / "loss.npy")
    report = compare(vectors, tmp_path / "theirs")
    (fault,) = report.faults
    assert fault.startswith("files: a file must have the name of an output, k, z_q, L, ")
    assert fault.endswith("; got loss.npy")


def test_on_the_command_line(vectors, tmp_path, capsys):
    assert main(["crosscheck", "vectors", "--out", str(tmp_path / "v")]) == 0
    assert tree(tmp_path / "v") == tree(vectors)
    for bug, status in ((None, 0), ("swapped", 1)):
        theirs = tmp_path / str(bug)
        program(vectors, theirs, bug)
        capsys.readouterr()
        assert main(["crosscheck", "compare", str(vectors), str(theirs), "--json"]) == status
        assert json.loads(capsys.readouterr().out)["ok"] is (status == 0)
    swapped = [str(vectors), str(tmp_path / "swapped")]
    assert main(["crosscheck", "compare", *swapped, "--allow", "beta_on=codebook"]) == 0


def test_bad_folders_are_refused(vectors, tmp_path):
    def refused(function, *arguments):
        with pytest.raises(InputError) as caught:
            function(*arguments)
        return caught.value.argument, caught.value.needed

    assert refused(write_vectors, vectors) == ("--out", "must be a new or empty folder")
    assert refused(compare, tmp_path, tmp_path)[0] == "DIR"
    assert refused(compare, vectors, tmp_path)[0] == "THEIRS"
    for dtype in ("", ',"dtype":"int8"', ',"dtype":5', ',"dtype":[]'):
        manifest = tmp_path / "manifest.json"
        manifest.write_text(f'{{"format":"vqnp-crosscheck-vectors-1"{dtype}}}')
        needed = "must be a manifest of vqnp-crosscheck-vectors-1"
        assert refused(compare, tmp_path, vectors) == (str(manifest), needed)


RIGHT = """
import numpy as np
from vqnp.crosscheck import Reference
conforming, number = Reference(), 3
class Wrong(Reference):
    def __init__(self): super().__init__(beta_on="codebook")
def broken(): return 1 / 0
def leaves(): raise SystemExit(0)
print("their file talks")
"""


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("conforming", 0, "ok: "),
        ("Wrong", 1, "swapped: on the codebook term"),
        ("broken", 2, "must load; got ZeroDivisionError: division by zero"),
        ("leaves", 2, "must load; got SystemExit: 0"),  # not status 0, which says that it conforms
        ("absent", 2, "must define absent; got np, Reference, conforming, number, Wrong, broken, leaves"),
        ("number", 2, "the adapter must have one of forward"),
    ],
)
def test_run_checks_what_a_file_defines(tmp_path, capsys, what, status, said):
    file = Path(tmp_path / "theirs.py")
    file.write_text(RIGHT)
    assert main(["crosscheck", "run", f"{file}:{what}"]) == status
    out, err = capsys.readouterr()
    assert said in (out if status < 2 else err) and "Traceback" not in err


def test_a_script_that_exits_is_no_layer_that_conforms(tmp_path, capsys):
    (tmp_path / "script.py").write_text(f"{RIGHT}\nraise SystemExit(0)\n")
    assert main(["crosscheck", "run", f"{tmp_path / 'script.py'}:conforming"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("must load; got SystemExit: 0")


def test_json_is_all_that_is_on_standard_output(tmp_path, capsys):
    (tmp_path / "talks.py").write_text(RIGHT)
    assert main(["crosscheck", "run", f"{tmp_path / 'talks.py'}:conforming", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["ok"] and err == "their file talks\n"


def test_allow_may_come_first_and_again(tmp_path):
    file = tmp_path / "two.py"
    file.write_text(
        "from vqnp.crosscheck import Reference\ntwo = Reference(beta_on='codebook', reduction='sum')\n"
    )
    allow = ["--allow", "beta_on=codebook", "--allow", "reduction=sum"]
    assert main(["crosscheck", "run", *allow, f"{file}:two"]) == 0
    assert main(["crosscheck", "run", *allow[2:], f"{file}:two"]) == 1


@pytest.mark.parametrize("path", ["theirs.py", "theirs:x", "nowhere.py:x"])
def test_run_needs_a_file_and_a_name(path, capsys):
    assert main(["crosscheck", "run", path]) == 2
    assert "FILE.py" in capsys.readouterr().err


@pytest.mark.parametrize("constant", [("--beta", "-1"), ("--decay", "2"), ("--epsilon", "nan")])
def test_a_constant_that_none_can_have_is_refused(vectors, tmp_path, capsys, constant):
    program(vectors, tmp_path / "theirs")
    assert main(["crosscheck", "compare", str(vectors), str(tmp_path / "theirs"), *constant]) == 2
    assert f"{constant[0][2:]} must be in" in capsys.readouterr().err


def test_an_unknown_allowance_is_refused(vectors, tmp_path, capsys):
    program(vectors, tmp_path / "theirs")
    assert main(["crosscheck", "compare", str(vectors), str(tmp_path / "theirs"), "--allow", "beta=x"]) == 2
    assert "allow's dimension" in capsys.readouterr().err
