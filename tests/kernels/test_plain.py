"""Compiled kernels compute alone; with NUMBA_DISABLE_JIT=1 their plain forms do, of the same arguments."""

import ast
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from vqnp import kernels
from vqnp._check import NonFiniteError
from vqnp.kernels import nearest, product, statistics
from vqnp.kernels.finite_scalar import Grid
from vqnp.kernels.jit import JIT

R = np.random.default_rng(0)
Z, K, E = R.standard_normal((6, 3)), R.integers(0, 4, (6, 2)), R.standard_normal((2, 4, 3))
GRID = Grid(*(np.full(3, x) for x in (2.0, 0.0, 0.1, 2.0, 1.0)))
ARGUMENTS = {
    "finite_scalar": (Z, GRID), "finite_scalar_gradient": (Z, Z, GRID), "bit_entropy_sums": (Z, True),
    "bit_entropy_gradient": (Z, np.ones(8), 1.0, 1.0), "normalize": (Z,),
    "normalize_gradient": (Z, Z, Z[:, :1]),
    "framed": (Z.reshape(1, 2, 3, 3), (1, 0), (0, 2)), "relu_gradient": (Z, Z), "gelu": (Z,),
    "signs": (Z, 1.0), "signs_gradient": (Z, Z, 1.0, 0.5), "layer_norm": (Z, E[0, 0], E[0, 1], 1e-5),
    "layer_norm_gradient": (Z, Z, Z[:, :1], E[0, 0]), "residual_codes": (Z, E, 2, None),
    "residual_gradient": (Z, Z, E, K, 0.5), "residual_statistics": (Z, E, K, True),
    "code_statistics": (Z, K[:, 0], 4),
}  # fmt: skip


OTHERS = {"adam_step", "product", "gradient"}  # test_elementwise.py and test_product.py


def pairs():
    """(module, name) of each function beside which its plain form stands."""
    for info in pkgutil.walk_packages(kernels.__path__, "vqnp.kernels."):
        module = importlib.import_module(info.name)
        for name, found in vars(module).items():
            own = inspect.isfunction(found) and found.__module__ == info.name
            if own and name not in OTHERS and hasattr(module, "JIT") and f"{name}_plain" in vars(module):
                yield module, name


PAIRS = {name: module for module, name in pairs()}
KEEPS_THE_GIL = {"_code_statistics", "_pack"}
"""Compiled, and never one of several threads."""
compiled_only = pytest.mark.skipif(not JIT, reason="NUMBA_DISABLE_JIT=1: only the plain form runs")


@compiled_only
@pytest.mark.parametrize("name", [name for name in PAIRS if name != "nearest_code"])
def test_one_form_alone_computes(name, monkeypatch):
    module, args, given = PAIRS[name], ARGUMENTS[name], []
    plain = getattr(module, f"{name}_plain")
    monkeypatch.setattr(module, f"{name}_plain", lambda *a: given.append(a) or plain(*a))
    compiled = getattr(module, name)(*args)
    assert not given
    monkeypatch.setattr(module, "JIT", False)
    other = getattr(module, name)(*args)
    assert len(given) == 1 and len(given[0]) == len(args)
    for ours, theirs in zip(leaves(compiled), leaves(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def leaves(value):
    return [leaf for v in value for leaf in leaves(v)] if isinstance(value, (tuple, list)) else [value]


def test_codes_without_compiled_kernels(monkeypatch):
    monkeypatch.setattr(nearest, "JIT", False)
    z = R.standard_normal((2, 5, 3))
    codes, rescored = nearest.nearest_code(z, E[0], return_rescored=True)
    wanted = np.square(z[:, :, None] - E[0]).sum(axis=-1).argmin(axis=-1)
    assert np.array_equal(codes, wanted) and rescored == 10
    assert np.array_equal(nearest.nearest_code(z, E[0]), wanted)
    for bad, name in (((z + np.inf, E[0]), "z"), ((z, E[0] + np.nan), "E")):
        with pytest.raises(NonFiniteError) as caught:
            nearest.nearest_code(*bad)
        assert caught.value.argument == name


@compiled_only
def test_products_are_compiled_where_they_can_be(monkeypatch):
    assert product.compiled.__wrapped__(np.dtype(np.float32))
    monkeypatch.setattr(product, "JIT", False)
    assert not product.compiled.__wrapped__(np.dtype(np.float32))
    monkeypatch.setattr(statistics, "JIT", False)
    with pytest.raises(ValueError, match="must be"):
        statistics.code_statistics(Z, K[:, 0] + 9, 4)


def writes_elements_in_a_loop(node, within=False):
    """Outside of functions in it."""
    if within and isinstance(node, (ast.Assign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Subscript) for target in targets):
            return True
    inner = (child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.FunctionDef))
    return any(writes_elements_in_a_loop(child, within or isinstance(node, ast.For)) for child in inner)


@compiled_only
def test_what_writes_elements_in_a_loop_is_compiled_and_lets_other_threads_run():
    seen = set()
    for info in pkgutil.walk_packages(kernels.__path__, "vqnp.kernels."):
        module = importlib.import_module(info.name)
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.FunctionDef) and not node.name.endswith("_plain"):
                found = getattr(module, node.name)
                assert isinstance(found, Dispatcher) or not writes_elements_in_a_loop(node), node.name
                if isinstance(found, Dispatcher):
                    seen.add(node.name)
                    assert bool(found.targetoptions.get("nogil")) != (node.name in KEEPS_THE_GIL), node.name
    assert KEEPS_THE_GIL < seen
