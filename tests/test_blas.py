"""choose_kernels: asks for AVX-512 kernels where OpenBLAS would not know to, and interferes nowhere else."""

import os
import subprocess
import sys

import pytest

from vqnp import _blas

FLAGS = "fpu sse2 avx2 avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.fixture
def before_numpy(monkeypatch):
    """As if NumPy were not imported yet, on an x86-64 machine, the variable unset."""
    monkeypatch.delenv(_blas.VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setattr(_blas.platform, "machine", lambda: "x86_64")


def chosen(tmp_path, vendor, flags):
    path = tmp_path / "cpuinfo"
    path.write_text(
        f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\nbugs\t\t:\n\n", encoding="utf-8"
    )
    _blas.choose_kernels(path)
    return os.environ.get(_blas.VARIABLE)


def test_amd_with_avx512(before_numpy, tmp_path):
    assert chosen(tmp_path, "AuthenticAMD", FLAGS) == "SkylakeX"


@pytest.mark.parametrize(
    ("vendor", "flags"),
    [("GenuineIntel", FLAGS), ("AuthenticAMD", "fpu avx2"), ("AuthenticAMD", "avx512f"), ("", "")],
)
def test_any_other_is_left_to_openblas(before_numpy, tmp_path, vendor, flags):
    assert chosen(tmp_path, vendor, flags) is None


def test_what_somebody_set_stays(before_numpy, monkeypatch, tmp_path):
    monkeypatch.setenv(_blas.VARIABLE, "Haswell")
    assert chosen(tmp_path, "AuthenticAMD", FLAGS) == "Haswell"


def test_too_late_once_numpy_is_there(before_numpy, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "numpy", object())
    assert chosen(tmp_path, "AuthenticAMD", FLAGS) is None


def test_other_processors_and_no_cpuinfo(before_numpy, monkeypatch, tmp_path):
    _blas.choose_kernels(tmp_path / "none")
    assert _blas.VARIABLE not in os.environ
    monkeypatch.setattr(_blas.platform, "machine", lambda: "aarch64")
    assert chosen(tmp_path, "AuthenticAMD", FLAGS) is None


def test_it_runs_before_numpy_is_imported():
    """In a process of its own, with the choice replaced by a note of what had been imported by then."""
    script = (
        "import importlib.util, sys, types\n"
        "note = types.ModuleType('vqnp._blas')\n"
        "note.choose_kernels = lambda: print('numpy' in sys.modules)\n"
        "sys.modules['vqnp._blas'] = note\n"
        "import vqnp"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
