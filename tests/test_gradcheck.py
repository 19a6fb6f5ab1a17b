"""The tester is tested: right gradients pass, every planted bug fails, and ones would have missed some."""

from functools import partial

import numpy as np
import pytest
from helpers import refused

import vqnp
from vqnp._check import NonFiniteError
from vqnp.gradcheck.checks import GradcheckError, gradcheck, gradcheck_module, surrogate_check

R = np.random.default_rng(3)
X, W, B = R.standard_normal((5, 4)), R.standard_normal((4, 3)), R.standard_normal(3)


def sin_forward(x):
    return np.sin(x), (x,)


def sin_backward(dy, cache):
    (x,) = cache
    return dy * np.cos(x)


def affine_forward(x, W, b):
    return x @ W + b, (x, W)


def affine_backward(dy, cache):
    x, W = cache
    return dy @ W.T, x.T @ dy, dy.sum(0)


def softmax_forward(a):
    e = np.exp(a - a.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return p, (p,)


def softmax_backward(dp, cache):
    (p,) = cache
    return p * (dp - (dp * p).sum(-1, keepdims=True))


def polar_forward(x, y):
    """Two float outputs, one of integers, and a 0-d one."""
    return x * y, np.sign(x).astype(np.int64), np.asarray((x**2 + np.exp(y)).sum()), (x, y)


def polar_backward(dproduct, dtotal, cache):
    x, y = cache
    return dproduct * y + dtotal * 2 * x, dproduct * x + dtotal * np.exp(y)


def mean_forward(x):
    return x.mean(), x.shape


def mean_backward(dy, shape):
    return np.full(shape, dy / np.prod(shape))


RIGHT = {
    "sin": (sin_forward, sin_backward, (X,)),
    "sin of a 0-d array": (sin_forward, sin_backward, (np.asarray(0.3),)),
    "sin of nothing": (sin_forward, sin_backward, (np.empty((0, 3)),)),
    "affine": (affine_forward, affine_backward, (X, W, B)),
    "affine, empty batch": (affine_forward, affine_backward, (X[:0], W, B)),
    "affine, other layouts": (affine_forward, affine_backward, (np.asfortranarray(X), W, B[::-1])),
    "softmax": (softmax_forward, softmax_backward, (X,)),
    "softmax of one class": (softmax_forward, softmax_backward, (X[:, :1],)),
    "many outputs": (polar_forward, polar_backward, (X, X[::-1].copy())),
    "0-d output": (mean_forward, mean_backward, (X,)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass(name):
    forward, backward, args = RIGHT[name]
    for seed in range(20):
        report = gradcheck(forward, backward, *args, rng=seed)
        assert report.ok and report and report.worst <= 1e-8, report
        assert len(report.rows) == len(args) and report.raise_if_failed() is report


@pytest.mark.parametrize("scale", [1e-150, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e150])
def test_arguments_of_any_size(scale):
    def log_forward(x):
        return np.log(x), (x,)

    def log_backward(dy, cache):
        return dy / cache[0]

    x = scale * R.uniform(1, 2, (4, 3))
    assert gradcheck(log_forward, log_backward, x, rng=0).worst <= 1e-8
    assert not gradcheck(log_forward, lambda dy, c: 1.0001 * log_backward(dy, c), x, rng=0)


def test_a_small_argument_is_no_excuse():
    """A step of 1e-17 beside an output of 1 is lost in rounding, which must not acquit a wrong gradient."""
    x = 1e-12 * X
    assert gradcheck(lambda x: (1 + x, None), lambda dy, c: dy, x, rng=0)
    assert not gradcheck(lambda x: (1 + x, None), lambda dy, c: 2 * dy, x, rng=0)


def test_an_output_that_mixes_all_of_a_large_argument():
    """exp(Σx): along a random direction its third derivative is size times its first."""

    def forward(x):
        return np.exp(x.sum()), (np.exp(x.sum()), x.shape)

    def backward(dy, cache):
        return np.full(cache[1], dy * cache[0])

    for seed in range(5):
        assert gradcheck(forward, backward, np.zeros(500_000), rng=seed)


def test_a_forward_that_takes_arrays_only_gets_arrays():
    def forward(x):
        assert isinstance(x, np.ndarray)
        return np.sin(x), (x,)

    assert gradcheck(forward, sin_backward, np.asarray(0.3), rng=0)


def test_small_values_under_a_large_output_are_not_mistaken_for_zero():
    """L ≈ 1e6, its gradient ≈ 1: rounding is allowed for, a factor is not."""

    def forward(x):
        return 1e6 + np.sin(x), (x,)

    assert gradcheck(forward, sin_backward, X, rng=0)
    assert not gradcheck(forward, lambda dy, c: 1.01 * sin_backward(dy, c), X, rng=0)


def scaled(factor):
    return lambda dy, cache: factor * sin_backward(dy, cache)


def replaced(i, gradient):
    """affine_backward with gradient i replaced by gradient(dy, x, W)."""

    def backward(dy, cache):
        right = list(affine_backward(dy, cache))
        right[i] = gradient(dy, *cache)
        return tuple(right)

    return backward


SQUARE = R.standard_normal((4, 4))
AFFINE = (X, SQUARE, R.standard_normal(4))

WRONG = {
    "factor 2": (sin_forward, scaled(2), (X,), "x"),
    "a factor of 1.00001": (sin_forward, scaled(1.00001), (X,), "x"),
    "sign": (sin_forward, scaled(-1), (X,), "x"),
    "zero": (sin_forward, scaled(0), (X,), "x"),
    "NaN": (sin_forward, scaled(np.nan), (X,), "x"),
    "NaN where the derivative is 0": (
        lambda x: (np.zeros(3) + 0 * x[0, 0], x.shape),
        lambda dy, shape: np.full(shape, np.nan),
        (X,),
        "x",
    ),
    "infinite": (sin_forward, lambda dy, c: np.where(dy > 0, np.inf, -np.inf), (X,), "x"),
    "W not transposed": (affine_forward, replaced(0, lambda dy, x, W: dy @ W), AFFINE, "x"),
    "dW transposed": (affine_forward, replaced(1, lambda dy, x, W: dy[:, :4].T @ x), AFFINE, "W"),
    "mean over the batch for sum": (affine_forward, replaced(2, lambda dy, x, W: dy.mean(0)), AFFINE, "b"),
    "only the first of the batch": (affine_forward, replaced(2, lambda dy, x, W: dy[0]), AFFINE, "b"),
    "cotangents swapped": (
        lambda x, y: (x * y, x + y, (x, y)),
        lambda dsum, dproduct, c: (dproduct * c[1] + dsum, dproduct * c[0] + dsum),
        (X, X[::-1].copy()),
        "x, y",
    ),
    "one cotangent forgotten": (
        polar_forward,
        lambda dproduct, dtotal, c: (dproduct * c[1], dproduct * c[0] + dtotal * np.exp(c[1])),
        (X, X[::-1].copy()),
        "x",
    ),
    "gradients swapped": (
        lambda x, y: (x * np.sin(y), (x, y)),
        lambda dy, c: (dy * c[0] * np.cos(c[1]), dy * np.sin(c[1])),
        (X, X[::-1].copy()),
        "x, y",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_fail(name):
    forward, backward, args, blamed = WRONG[name]
    for seed in range(20):
        report = gradcheck(forward, backward, *args, rng=seed)
        assert not report.ok and not report and report.worst > 1e-7, report
        with pytest.raises(GradcheckError, match=f"^the gradient of {blamed} is not the derivative\n"):
            report.raise_if_failed()


def test_one_wrong_entry_of_many_is_found():
    """Whatever stands in one entry of 40,000, a random direction sees it."""
    x = R.standard_normal((200, 200))

    def backward(dy, cache):
        dx = sin_backward(dy, cache)
        dx[123, 45] = 1.0
        return dx

    assert gradcheck(sin_forward, sin_backward, x, rng=0)
    assert gradcheck(sin_forward, backward, x, rng=0).worst > 1e-5


def test_ones_miss_what_random_cotangents_find():
    """Σ softmax is 1 whatever a is: under ones its gradient is zero, and so is every wrong one."""

    def nothing(dp, cache):
        return np.zeros_like(cache[0])

    ones = [np.ones_like(X)]
    assert gradcheck(softmax_forward, nothing, X, rng=0, cotangents=ones)
    assert gradcheck(softmax_forward, softmax_backward, X, rng=0, cotangents=ones)
    assert not gradcheck(softmax_forward, nothing, X, rng=0)


def test_several_draws_and_the_worst_counts():
    calls = []

    def sometimes(dy, cache):
        calls.append(None)
        return sin_backward(dy, cache) * (1.5 if len(calls) in (3, 4) else 1)

    assert gradcheck(sin_forward, sometimes, X, rng=0, draws=3).worst > 1e-2
    assert len(calls) == 6


def test_a_given_step_and_a_kink():
    def relu_forward(x):
        return np.maximum(x, 0), (x,)

    def relu_backward(dy, cache):
        return dy * (cache[0] > 0)

    away = np.where(np.abs(X) < 1e-3, 1.0, X)
    assert gradcheck(relu_forward, relu_backward, away, rng=0)
    assert not gradcheck(relu_forward, relu_backward, np.zeros(5), rng=0)
    assert gradcheck(sin_forward, sin_backward, X, rng=0, h=1e-5)
    assert not gradcheck(sin_forward, sin_backward, X, rng=0, h=0.1)


def test_argnums_and_arguments_that_are_no_arrays():
    def forward(x, k, scale, target):
        return scale * x[k] * target, (x.shape, k, scale, target)

    def backward(dy, cache):
        shape, k, scale, target = cache
        dx = np.zeros(shape)
        np.add.at(dx, k, scale * dy * target)
        return dx

    args = (X, np.array([0, 2, 2]), 1.5, R.standard_normal((3, 4)))
    report = gradcheck(forward, backward, *args, rng=0, argnums=[0]).raise_if_failed()
    assert [row.argument for row in report.rows] == ["x"]
    with pytest.raises(GradcheckError, match="^backward must return 2 gradients; got 1$"):
        gradcheck(forward, backward, *args, rng=0)
    with refused("scale", "must be an array of float64", "float", where="gradcheck"):
        gradcheck(forward, backward, *args, rng=0, argnums=[2])
    with refused("argnums", "must be an integer in [0, 3]", "4", where="gradcheck"):
        gradcheck(forward, backward, *args, rng=0, argnums=[4])


def test_options_are_bound_by_partial_and_names_are_forwards():
    def forward(x, *, power):
        return x**power, (x, power)

    def backward(dy, cache):
        x, power = cache
        return dy * power * x ** (power - 1)

    assert [row.argument for row in gradcheck(partial(forward, power=3), backward, X, rng=0).rows] == ["x"]
    starred = gradcheck(lambda *a: affine_forward(*a), affine_backward, X, W, B, rng=0)
    assert [row.argument for row in starred.rows] == ["argument 0", "argument 1", "argument 2"]


def impure(x):
    impure.calls += 1
    return np.sin(x) + 1e-15 * impure.calls, (x,)


impure.calls = 0


def one_buffer(x):
    """The same array each time, with another content."""
    one_buffer.y += np.sin(x)
    return one_buffer.y, (x,)


one_buffer.y = np.zeros_like(X)


def overwriting(x):
    x += 1
    return np.sin(x), (x,)


def spoiling_cotangent(dy, cache):
    dy *= np.cos(cache[0])
    return dy


def spoiling_argument(dy, cache):
    dx = sin_backward(dy, cache)
    cache[0][...] = 0
    return dx


def spoiling_cache(dy, cache):
    dx = dy * cache[0]
    cache[0][...] = 0
    return dx


PROTOCOL = {
    "forward changes its arguments": (overwriting, sin_backward),
    "forward answers differently the second time": (impure, sin_backward),
    "backward changes its cotangents": (sin_forward, spoiling_cotangent),
    "backward changes the arguments": (sin_forward, spoiling_argument),
    "backward answers differently the second time: it changes its cache": (
        lambda x: (np.sin(x), (np.cos(x),)),
        spoiling_cache,
    ),
    "backward must return 1 gradients; got 2": (sin_forward, lambda dy, c: (dy, dy)),
    "the gradient of x must be float64 of shape (5, 4); got float32 of shape (5, 4)": (
        sin_forward,
        lambda dy, c: sin_backward(dy, c).astype(np.float32),
    ),
    "the gradient of x must be float64 of shape (5, 4); got float64 of shape (4, 5)": (
        sin_forward,
        lambda dy, c: sin_backward(dy, c).T,
    ),
    "the gradient of x must be float64 of shape (5, 4); got float64 of shape (1, 4)": (
        sin_forward,
        lambda dy, c: sin_backward(dy, c).sum(0, keepdims=True),
    ),
    "forward must return (output, …, cache) with a float output": (np.sin, sin_backward),
}


@pytest.mark.parametrize("sentence", PROTOCOL)
def test_the_protocol_is_checked(sentence):
    forward, backward = PROTOCOL[sentence]
    with pytest.raises(GradcheckError) as error:
        gradcheck(forward, backward, X.copy(), rng=0)
    assert str(error.value) == sentence


def test_outputs_that_share_memory_with_the_last_call_are_compared_all_the_same():
    with pytest.raises(GradcheckError, match="^forward answers differently the second time$"):
        gradcheck(one_buffer, sin_backward, X, rng=0)


def test_a_forward_without_float_outputs_is_refused():
    with pytest.raises(GradcheckError, match="with a float output$"):
        gradcheck(lambda x: (np.sign(x).astype(int), None), lambda cache: X, X, rng=0)


@pytest.mark.parametrize(
    ("options", "argument", "needed", "got"),
    [
        ({"draws": 0}, "draws", "must be an integer of at least 1", "0"),
        ({"rtol": 0.0}, "rtol", "must be in (0, inf)", "0.0"),
        ({"h": -1.0}, "h", "must be in (0, inf)", "-1.0"),
        ({"cotangents": [np.ones(3)]}, "cotangents", "must have shapes [(5, 4)]", "[(3,)]"),
    ],
)
def test_bad_options(options, argument, needed, got):
    with refused(argument, needed, got, where="gradcheck"):
        gradcheck(sin_forward, sin_backward, X, rng=0, **options)


def test_bad_arguments():
    with refused("x", "must be an array of float64", "float32", where="gradcheck"):
        gradcheck(sin_forward, sin_backward, X.astype(np.float32), rng=0)
    bad = X.copy()
    bad[2, 1] = np.inf
    with refused("x", "must be finite", "inf at index (2, 1)", where="gradcheck", error=NonFiniteError):
        gradcheck(sin_forward, sin_backward, bad, rng=0)


def test_the_report_is_a_table():
    text = str(gradcheck(affine_forward, replaced(2, lambda dy, x, W: 2 * dy.sum(0)), *AFFINE, rng=0))
    lines = text.splitlines()
    assert lines[0].split() == "argument by backward by differences relative error".split()
    assert [line.split()[0] for line in lines[1:]] == ["x", "W", "b", "FAILED"]
    assert lines[3].endswith("<- wrong") and not lines[2].endswith("wrong") and lines[4] == "FAILED at 1e-07"
    right = gradcheck(affine_forward, affine_backward, *AFFINE, rng=0)
    assert str(right).endswith("\nok at 1e-07") and right == gradcheck(
        affine_forward, affine_backward, *AFFINE, rng=np.random.default_rng(0)
    )


# --- the surrogate check ---


def round_forward(z):
    return np.rint(z), None


def round_backward(dz_q, cache):
    return dz_q


def round_freeze(z):
    offset = np.rint(z) - z
    return lambda z: z + offset


def test_straight_through_is_the_derivative_of_its_surrogate_only():
    z = R.uniform(0.1, 0.4, (4, 3)) + np.arange(3)
    assert not gradcheck(round_forward, round_backward, z, rng=0)
    assert surrogate_check(round_forward, round_backward, round_freeze, z, rng=0).worst <= 1e-8
    assert not surrogate_check(round_forward, lambda dz_q, c: 0 * dz_q, round_freeze, z, rng=0)
    assert not surrogate_check(round_forward, lambda dz_q, c: 2 * dz_q, round_freeze, z, rng=0)


def test_a_surrogate_of_another_function_is_refused():
    z = R.uniform(0.1, 0.4, (4, 3))
    for freeze, sentence in (
        (lambda z: lambda z: z, "the surrogate's output 0 is not the forward pass's"),
        (lambda z: lambda z: np.rint(z[:1]), "the surrogate's output 0 is not the forward pass's"),
        (lambda z: lambda z: (np.rint(z), z), "the surrogate must have 1 float outputs; got 2"),
    ):
        with pytest.raises(GradcheckError, match=f"^{sentence}$"):
            surrogate_check(round_forward, round_backward, freeze, z, rng=0)


BETA = 0.25
Z, E = R.standard_normal((20, 3)), R.standard_normal((6, 3))


def nearest(z, E):
    return ((z[:, None] - E) ** 2).sum(-1).argmin(-1)


def vq_forward(z, E):
    k = nearest(z, E)
    e = E[k]
    loss = ((z - e) ** 2).mean() * (1 + BETA)
    return e, loss, k, (z, e, k, E.shape)


def vq_backward(dz_q, dloss, cache, commitment=BETA, codebook=1.0, straight=1.0, leak=0.0):
    z, e, k, shape = cache
    r = dloss * 2 * (z - e) / z.size
    dE = np.zeros(shape)
    np.add.at(dE, k, leak * dz_q - codebook * r)
    return straight * dz_q + commitment * r, dE


def vq_freeze(z0, E0):
    k = nearest(z0, E0)
    z0, e0 = z0.copy(), E0[k]

    def surrogate(z, E):
        codebook, commitment = ((z0 - E[k]) ** 2).mean(), ((z - e0) ** 2).mean()
        return z + (e0 - z0), codebook + BETA * commitment

    return surrogate


def test_the_right_quantizer_passes():
    assert surrogate_check(vq_forward, vq_backward, vq_freeze, Z, E, rng=0).worst <= 1e-8


@pytest.mark.parametrize(
    "bug, blamed",
    [
        ({"commitment": 1.0, "codebook": BETA}, {"z", "E"}),
        ({"codebook": 0.0}, {"E"}),
        ({"leak": 1.0}, {"E"}),
        ({"straight": 0.0}, {"z"}),
        ({"commitment": 0.0}, {"z"}),
    ],
    ids=["swapped beta", "loss after straight-through", "leak", "no straight-through", "no commitment"],
)
def test_wrong_estimators_pass_every_forward_test_and_fail_here(bug, blamed):
    """No forward value differs: both terms of the loss have one value, whichever of them β stands on."""
    z_q, loss, k, _ = vq_forward(Z, E)
    surrogate = vq_freeze(Z, E)(Z, E)
    np.testing.assert_allclose(surrogate[0], z_q, rtol=1e-12)
    np.testing.assert_allclose(surrogate[1], loss, rtol=1e-12)
    report = surrogate_check(vq_forward, partial(vq_backward, **bug), vq_freeze, Z, E, rng=0)
    assert {row.argument for row in report.rows if row.error > report.rtol} == blamed


# --- modules ---


class Param:
    def __init__(self, value):
        self.value, self.grad = value, np.full_like(value, 7.0)


class Affine:
    """x W + b twice over with the same W and b: what an accumulating backward is for."""

    def __init__(self, times=2):
        self.W, self.b, self.times = Param(SQUARE.copy()), Param(R.standard_normal(4)), times

    def named_parameters(self):
        yield "W", self.W
        yield "b", self.b
        yield "tied.W", self.W

    def forward(self, x):
        caches = []
        for _ in range(self.times):
            x, cache = affine_forward(x, self.W.value, self.b.value)
            caches.append(cache)
        return x, caches

    def backward(self, dy, caches):
        for cache in reversed(caches):
            dy, dW, db = affine_backward(dy, cache)
            self.add(dW, db)
        return dy

    def add(self, dW, db):
        self.W.grad += dW
        self.b.grad += db


class Overwriting(Affine):
    def add(self, dW, db):
        self.W.grad += dW
        self.b.grad[...] = db


class Forgetting(Affine):
    def add(self, dW, db):
        self.W.grad += dW


class Learning(Affine):
    def forward(self, x):
        self.b.value += 1
        return super().forward(x)


class Counting(Affine):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls, []


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_right_module_passes_and_is_left_as_it_was(times):
    module = Affine(times)
    before = [(p.value.copy(), p.grad.copy()) for p in (module.W, module.b)]
    report = gradcheck_module(module, X, rng=0).raise_if_failed()
    assert [row.argument for row in report.rows] == ["x", "W", "b"] and report.worst <= 1e-8
    for param, (value, grad) in zip((module.W, module.b), before, strict=True):
        assert np.array_equal(param.value, value) and np.array_equal(param.grad, grad)


def test_wrong_modules_fail():
    with pytest.raises(GradcheckError, match="^backward does not add to the gradient of b$"):
        gradcheck_module(Overwriting(1), X, rng=0)
    with pytest.raises(GradcheckError, match="^the gradient of b is not the derivative\n"):
        gradcheck_module(Forgetting(), X, rng=0).raise_if_failed()
    with pytest.raises(GradcheckError, match="^forward answers differently the second time$"):
        gradcheck_module(Counting(), X, rng=0)
    module = Learning()
    before = module.b.value.copy()
    with pytest.raises(GradcheckError, match="^forward changes b$"):
        gradcheck_module(module, X, rng=0)
    assert np.array_equal(module.b.value, before)


def test_a_module_in_float32_is_refused_by_the_parameters_name():
    module = Affine()
    module.b = Param(module.b.value.astype(np.float32))
    with refused("b", "must be an array of float64", "float32", where="gradcheck"):
        gradcheck_module(module, X, rng=0)


class Quantizer:
    """A module of another protocol: it returns a loss and codes too, and backward takes them by name."""

    def __init__(self, beta=BETA):
        self.E, self.beta = Param(E.copy()), beta

    def named_parameters(self):
        yield "E", self.E

    def forward(self, z, key=None):
        assert key == "needed"
        return vq_forward(z, self.E.value)

    def backward(self, dz_q, cache, dL=1.0):
        dz, dE = vq_backward(dz_q, dL, cache, commitment=self.beta)
        self.E.grad += dE
        return dz


def test_a_module_with_stop_gradients_and_its_own_call():
    def check(module):
        return gradcheck_module(
            module,
            Z,
            rng=0,
            forward=lambda z: module.forward(z, key="needed"),
            backward=lambda dz_q, dL, cache: module.backward(dz_q, cache, dL=dL),
            freeze=vq_freeze,
        )

    assert check(Quantizer()).worst <= 1e-8
    assert [row.argument for row in check(Quantizer(beta=1.0)).rows if row.error > 1e-7] == ["x"]


def test_the_package_itself_can_still_be_called_and_warns():
    """In version 0.1 vqnp.gradcheck was the function."""
    with pytest.warns(DeprecationWarning, match="use vqnp.gradcheck.gradcheck"):
        assert vqnp.gradcheck(sin_forward, sin_backward, X, rng=0).ok
