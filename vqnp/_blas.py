"""NumPy's matrix products at the processor's speed, where OpenBLAS does not know the processor.

OpenBLAS takes kernels by the processor's name; one that it has no name for gets those of 2013
("Haswell"), at half the speed if it has AVX-512. Measured with OpenBLAS 0.3.31 on an AMD EPYC of
family 26: 125 GFLOP/s on a core, and 230 with its AVX-512 kernels. docs/decisions/0005 has the story.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
"""OpenBLAS reads it when NumPy is first imported; whoever has set it is left alone."""

NEEDED = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}


def choose_kernels(cpuinfo: str | Path = "/proc/cpuinfo") -> None:
    """Ask OpenBLAS for its AVX-512 kernels on an AMD processor that has AVX-512, if NumPy is not there yet.

    Intel's processors are known by name. Where NumPy has another library, the variable means nothing.
    """
    if VARIABLE in os.environ or "numpy" in sys.modules or platform.machine() not in ("x86_64", "AMD64"):
        return
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            text = file.read(8192)  # the first core's entry
    except OSError:
        return
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    field = {name.strip(): value.split() for name, value in fields.items()}
    if field.get("vendor_id") == ["AuthenticAMD"] and field.get("flags", []) and NEEDED <= {*field["flags"]}:
        os.environ[VARIABLE] = "SkylakeX"
