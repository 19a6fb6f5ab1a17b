"""Information, rate, sharpness and influence are their equations, and keep their laws."""

import math

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
from hypothesis import assume, given

import vqnp
from vqnp._check import InputError
from vqnp.metrics.spectrum import sharpness

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def labelled_codes(draw):
    """(k: (n, M), c: (n,), K), drawn so that some codes are rare."""
    n, M, K, C = (draw(st.integers(1, top)) for top in (40, 4, 9, 5))
    r = np.random.default_rng(draw(SEEDS))
    p = r.dirichlet(np.full(K, 0.5))
    return r.choice(K, (n, M), p=p), r.integers(C, size=n), K


# --- information ---


@given(labelled_codes())
def test_code_information_is_its_equation(case):
    k, _, K = case
    found = vqnp.code_information(k, K)
    M = k.shape[1]
    marginals = [oracles.entropy_bits(k[:, m].tolist()) for m in range(M)]
    assert found.per_position == pytest.approx(marginals, rel=1e-12, abs=1e-12)
    assert found.joint == pytest.approx(oracles.entropy_bits([tuple(row) for row in k]), rel=1e-12, abs=1e-12)
    assert found.upper == pytest.approx(sum(marginals), rel=1e-12, abs=1e-12)


@given(labelled_codes())
def test_the_bounds_of_information(case):
    k, _, K = case
    found = vqnp.code_information(k, K)
    assert found.per_position.max() <= found.joint + 1e-12
    assert found.joint <= min(found.upper, found.limit) + 1e-12
    assert found.limit == math.log2(len(k)) and found.upper <= vqnp.rate_distortion(k, K, 1.0).bits + 1e-12


def test_known_information():
    both = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    found = vqnp.code_information(both, 2)
    assert (found.per_position.tolist(), found.upper, found.joint, found.limit) == ([1.0, 1.0], 2, 2, 2)
    copied = vqnp.code_information(both[:, :1].repeat(3, axis=1), 2)
    assert copied.upper == 3 and copied.joint == 1, "three copies of a bit are one bit"
    assert vqnp.code_information([[3, 3]], 4).upper == 0


@given(labelled_codes())
def test_class_information_is_its_equation(case):
    k, c, K = case
    found = vqnp.class_information(k, c, K)
    for m in range(k.shape[1]):
        true = oracles.mutual_information_bits(k[:, m].tolist(), c.tolist())
        assert found.per_position[m] == pytest.approx(true, rel=1e-9, abs=1e-12)
        assert 0 <= found.per_position[m] <= found.class_entropy + 1e-12
    C = c.max() + 1
    for one in range(C):
        mine = [int(j) for row in k[c == one] for j in row]
        assert found.usage[one] == pytest.approx([mine.count(j) / max(len(mine), 1) for j in range(K)])
        for other in range(C):
            shared = sum(min(a, b) for a, b in zip(found.usage[one], found.usage[other], strict=True))
            assert found.overlap[one, other] == pytest.approx(shared, abs=1e-12)
    assert np.array_equal(found.classes_per_code > 0, np.bincount(k.ravel(), minlength=K) > 0)
    assert (found.classes_per_code <= C).all()


@given(labelled_codes(), SEEDS)
def test_neither_the_order_nor_the_names_of_codes_and_images_matter(case, seed):
    k, c, K = case
    r = np.random.default_rng(seed)
    names, order = r.permutation(K), r.permutation(len(k))
    one, other = vqnp.class_information(k, c, K), vqnp.class_information(names[k][order], c[order], K)
    assert other.per_position == pytest.approx(one.per_position, abs=1e-12)
    assert other.overlap == pytest.approx(one.overlap, abs=1e-12)
    assert other.classes_per_code[names] == pytest.approx(one.classes_per_code, abs=1e-12)
    assert vqnp.code_information(names[k][order], K).joint == pytest.approx(
        vqnp.code_information(k, K).joint, abs=1e-12
    )


def test_a_code_that_is_the_class_and_one_that_knows_nothing():
    c = np.arange(4).repeat(25)
    k = np.stack([c, np.tile(np.arange(5), 20)], axis=1)
    found = vqnp.class_information(k, c, 5)
    assert found.per_position.tolist() == pytest.approx([2.0, 0.0], abs=1e-12) and found.class_entropy == 2
    own = vqnp.class_information(c[:, None].astype(np.uint8), c.astype(np.uint8), 5)
    assert own.overlap.tolist() == np.eye(4).tolist() and own.classes_per_code.tolist() == [1, 1, 1, 1, 0]


def test_labels_of_one_byte_are_as_good():
    c = np.arange(10, dtype=np.uint8).repeat(3)
    k = (37 * np.arange(30) % 300)[:, None]
    one, other = vqnp.class_information(k, c, 300), vqnp.class_information(k, c.astype(int), 300)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_bias_is_what_chance_shows(rng):
    n, K, C = 10_000, 64, 10
    shown = [
        vqnp.class_information(rng.integers(K, size=(n, 1)), rng.integers(C, size=n), K) for _ in range(50)
    ]
    mean = np.mean([one.per_position[0] for one in shown])
    assert mean == pytest.approx(shown[0].bias[0], rel=0.05) and mean > 0.03


def test_the_bias_is_not_what_is_too_much_where_the_code_says_the_class(rng):
    """Then I is H(c), and comes out too small; with few counts in a cell chance shows more than bias."""
    n, C = 2000, 10
    labels = rng.integers(C, size=(50, n))
    sure = [vqnp.class_information(3 * c[:, None] + rng.integers(3, size=(n, 1)), c, 30) for c in labels]
    excess = np.mean([one.per_position[0] for one in sure]) - math.log2(C)
    assert -0.01 < excess < 0 < 0.09 < sure[0].bias[0]
    few = [vqnp.class_information(rng.integers(128, size=(n, 1)), c, 128) for c in labels[:10]]
    assert 1.1 < np.mean([one.per_position[0] for one in few]) / few[0].bias[0] < 1.25


# --- rate and distortion ---


def test_rate_distortion(rng):
    k = rng.integers(8, size=(500, 3))
    found = vqnp.rate_distortion(k, 8, 0.01)
    assert found.bits == 9 and found.mse == 0.01 and found.psnr == pytest.approx(20)
    assert found.entropy_bits == vqnp.code_information(k, 8).upper <= 9
    assert vqnp.psnr(255**2 / 100, peak=255) == pytest.approx(20) and vqnp.psnr(0) == math.inf


@given(labelled_codes())
def test_code_length_is_at_least_the_entropy_and_a_sum_of_logarithms(case):
    k, c, K = case
    assume(len(k) > 1)
    half = len(k) // 2
    true = 0.0
    for row in k[half:]:
        for m, j in enumerate(row):
            seen = sum(1 for other in k[:half] if other[m] == j)
            true -= math.log2((seen + 0.5) / (half + K / 2)) / len(k[half:])
    assert vqnp.code_length(k[half:], k[:half], K) == pytest.approx(true, rel=1e-12, abs=1e-12)
    assert vqnp.code_length(k, k, K) >= vqnp.code_information(k, K).upper - 1e-9


# --- codes as a chain ---


@given(labelled_codes(), st.sampled_from([0, 1]), st.sampled_from([None, 0.5, 30]))
def test_the_chain_is_its_equation(case, order, weight):
    k, _, K = case
    assume(len(k) > 1)
    seen, new = k[: len(k) // 2], k[len(k) // 2 :]
    chain = vqnp.CodeChain(seen, K, order, weight)
    true = oracles.chain_bits(seen.tolist(), new.tolist(), K, order, K / 2 if weight is None else weight)
    assert chain.code_length(new) == pytest.approx(true, rel=1e-12, abs=1e-12)


@given(labelled_codes(), SEEDS)
def test_a_chain_with_a_heavy_prior_is_one_of_order_0(case, seed):
    k, _, K = case
    new = np.random.default_rng(seed).integers(K, size=(5, k.shape[1]))
    length = vqnp.code_length(new, k, K)
    assert vqnp.CodeChain(k, K, weight=1e12).code_length(new) == pytest.approx(length, rel=1e-9, abs=1e-9)


@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 1]), SEEDS)
def test_the_chains_probabilities_sum_to_one(K, M, order, seed):
    chain = vqnp.CodeChain(np.random.default_rng(seed).integers(K, size=(7, M)), K, order)
    every = np.stack(np.meshgrid(*[range(K)] * M, indexing="ij"), axis=-1).reshape(-1, M)
    assert sum(2 ** -chain.code_length(row[None]) for row in every) == pytest.approx(1)


@pytest.mark.parametrize("order", [0, 1])
def test_draws_from_a_chain_have_its_probabilities(order, rng):
    chain = vqnp.CodeChain(rng.choice(3, (9, 3), p=[0.6, 0.4, 0]), 3, order)
    k = chain.sample(60_000, 5)
    rows, counts = np.unique(k, axis=0, return_counts=True)
    assert len(rows) == 27, "also a code that was never seen comes"
    p = np.array([2 ** -chain.code_length(row[None]) for row in rows])
    assert (np.abs(counts / len(k) - p) < 5 * np.sqrt(p / len(k))).all()
    assert np.array_equal(chain.sample(60_000, np.random.default_rng(5)), k)
    assert chain.sample(0, 0).shape == (0, 3)


def test_a_chain_knows_a_copy(rng):
    first = rng.integers(4, size=(4000, 1))
    k = np.concatenate([first, first], axis=1)
    chain = vqnp.CodeChain(k, 4, weight=1e-3)
    assert chain.code_length(k) == pytest.approx(2, abs=0.01) and vqnp.code_length(k, k, 4) > 3.99
    assert (chain.sample(1000, 0)[:, 0] == chain.sample(1000, 0)[:, 1]).all()


# --- made-up images ---


@given(st.integers(2, 6), st.integers(2, 6), st.integers(1, 3), SEEDS)
def test_energy_distance_is_its_equation(n, other, P, seed):
    r = np.random.default_rng(seed)
    x, y = r.random((n, P, 2)), r.random((other, P, 2)) ** 2
    found, back = vqnp.energy_distance(x, y), vqnp.energy_distance(y, x)
    assert found.distance == pytest.approx(oracles.energy_distance(x, y), rel=1e-6, abs=1e-7)
    assert back == pytest.approx(found, rel=1e-9, abs=1e-9) and found.coefficient <= 1
    turned = vqnp.energy_distance(1 - x[:, :, ::-1], 1 - y[:, :, ::-1])
    assert turned == pytest.approx(found, rel=1e-9, abs=1e-7)


def test_energy_distance_of_halves_is_zero_on_average_and_of_far_points_nearly_one(rng):
    halves = [vqnp.energy_distance(*np.split(rng.random((80, 1, 3)), 2)).distance for _ in range(200)]
    assert abs(np.mean(halves)) < 5 * np.std(halves) / math.sqrt(200) and min(halves) < 0 < max(halves)
    black, white = np.zeros((3, 2, 2), np.uint8), np.full((4, 2, 2), 255, np.uint8)
    assert vqnp.energy_distance(black, white) == pytest.approx((4.0, 1.0))
    assert vqnp.energy_distance(black, black) == (0, 0)


def test_energy_distance_goes_with_the_square_of_a_small_shift(rng):
    def mean(shift):
        pairs = 0.8 * rng.random((20, 2, 500, 4))
        return np.mean([vqnp.energy_distance(x, y + shift).distance for x, y in pairs])

    assert mean(0.1) / mean(0.05) == pytest.approx(4, rel=0.15)


def test_energy_distance_in_parts(rng, monkeypatch):
    x, y = rng.random((20, 4)), rng.random((9, 4))
    whole = vqnp.energy_distance(x, y)
    monkeypatch.setattr("vqnp.metrics.generation.ROWS", 7)
    assert vqnp.energy_distance(x, y) == pytest.approx(whole, rel=1e-9)


@given(st.integers(1, 6), st.integers(1, 6), SEEDS)
def test_nearest_distance_is_its_equation(n, other, seed):
    r = np.random.default_rng(seed)
    x, y = r.random((n, 2, 3), np.float32), r.random((other, 2, 3), np.float32)
    true = [min(math.sqrt(float(((a - b).astype(float) ** 2).mean())) for b in y) for a in x]
    assert vqnp.nearest_distance(x, y) == pytest.approx(true, rel=1e-5)
    assert not vqnp.nearest_distance(y[::-1], y).any()


# --- sharpness ---


@given(st.integers(2, 9), st.integers(2, 9), SEEDS)
def test_the_spectrum_is_that_of_the_plain_loops(H, W, seed):
    x = np.random.default_rng(seed).random((2, H, W))
    r, P = vqnp.radial_spectrum(x)
    assert r.tolist() == list(range(min(H, W) // 2 + 1))
    assert P == pytest.approx(oracles.radial_spectrum(x), rel=1e-9, abs=1e-12)
    if H == W:  # else frequencies of the longer side, below half a cycle of the shorter, are there too
        assert P[0] == pytest.approx((x.sum(axis=(1, 2)) ** 2).mean() / (H * W))


def test_a_wave_is_at_its_frequency():
    i, j = np.mgrid[:28, :28]
    for u, v, radius in ((3, 0, 3), (0, 11, 11), (3, 4, 5)):
        r, P = vqnp.radial_spectrum(0.5 + 0.5 * np.cos(2 * np.pi * (u * i + v * j) / 28)[None])
        assert set(np.flatnonzero(P > 1e-9)) == {0, radius}


@given(SEEDS)
def test_sharpness_of_itself_is_one_and_blur_takes_the_high_frequencies(seed):
    x = np.random.default_rng(seed).random((3, 16, 16))
    blurred = (x + np.roll(x, 1, 1) + np.roll(x, 1, 2) + np.roll(x, (1, 1), (1, 2))) / 4
    r, S = vqnp.relative_spectrum(x, x)
    assert (S == 1).all() and sharpness(x, x) == 1
    _, S = vqnp.relative_spectrum(blurred, x)
    assert S[0] == pytest.approx(1) and S[-1] < 0.5 and sharpness(blurred, x) < 0.7
    assert sharpness(0.5 * x, x) == pytest.approx(0.25) == vqnp.relative_spectrum(0.5 * x, x)[1][3]


@given(st.integers(2, 6), st.integers(2, 6), SEEDS)
def test_gradient_energy_is_its_equation(H, W, seed):
    x = np.random.default_rng(seed).random((2, H, W))
    assert vqnp.gradient_energy(x) == pytest.approx(oracles.gradient_energy(x), rel=1e-12)
    assert vqnp.gradient_energy(1 - x.transpose(0, 2, 1)) == pytest.approx(vqnp.gradient_energy(x))
    assert vqnp.gradient_energy(np.full((1, H, W), 7, np.uint8)) == 0


# --- influence ---


@pytest.fixture
def model():
    """Three positions of 4 × 5 images; the decoder is linear, and position 1 does not reach it."""
    made = vqnp.VQVAE((4, 5), num_latents=3, embedding_dim=2, num_embeddings=6, hidden=(7,), rng=1)
    weights = made.decoder.state()
    weights["0.W"][2:4] = 0
    made.decoder.load_state(weights)
    return made


def test_influence_is_the_change_that_a_borrowed_code_makes(model, rng):
    images = rng.random((40, 4, 5), np.float32)
    a = vqnp.position_influence(model, images, 3)
    assert a.shape == (3, 4, 5) and a.dtype == np.float64
    assert not a[1].any() and a[0].any() and a[2].any()
    again = vqnp.position_influence(model, images, np.random.default_rng(3))
    assert np.array_equal(a, again)
    # two images can only lend to each other
    k = model.encode(images[:2])
    for m, map_ in enumerate(vqnp.position_influence(model, images[:2], 0)):
        swapped = k.copy()
        swapped[0, m], swapped[1, m] = k[1, m], k[0, m]
        change = (model.decode(swapped).astype(float) - model.decode(k)) ** 2
        assert map_ == pytest.approx((change[0] + change[1]) / 2)


def swap_toy(absolute):
    """Two pixels, a code each, z = ±1; x̂ = (4 + a + 2b, 4 − a)/8, or, not additive, |a + b|/2."""
    made = vqnp.VQVAE((2,), 2, 1, 2, (2,) if absolute else (), codebook="gradient")
    zero, eye = np.zeros(2), np.eye(2)
    sums = np.array([[1, -1], [1, -1]])
    if absolute:
        values = [eye, zero, 2 * eye, zero - 1, sums, zero, abs(sums) / 2, zero]
    else:
        values = [2 * eye, zero - 1, np.array([[1, -1], [2, 0]]) / 8, zero + 0.5]
    state = made.state() | {"quantizer.E": np.array([[-1], [1]], np.float32)}
    names = [name for name in state if name.startswith(("encoder.", "decoder."))]
    made.load_state(state | {n: v.astype(np.float32) for n, v in zip(names, values, strict=True)})
    return made


def test_swaps_add_up_and_agree_where_the_decoder_adds_parts():
    images = np.random.default_rng(0).integers(0, 2, (60, 2)).astype(np.float32)
    assert swap_toy(False).reconstruct(np.float32([[1, 0]])) == pytest.approx(np.array([[3 / 8, 3 / 8]]))
    assert vqnp.swap_interaction(swap_toy(False), images, 2, 0) == pytest.approx(0, abs=1e-12)
    assert vqnp.swap_agreement(swap_toy(False), images, 0) == pytest.approx(1)


def test_swaps_neither_add_up_nor_agree_where_a_code_means_what_the_other_says():
    # |a + b|/2: alone, a swap changes it by ±1 with the sign of b; both change nothing, and are 2 in sum
    images = np.random.default_rng(0).integers(0, 2, (8000, 2)).astype(np.float32)
    model = swap_toy(True)
    assert model.reconstruct(np.eye(2, dtype=np.float32)).tolist() == [[0, 0], [0, 0]]
    assert vqnp.swap_interaction(model, images, 2, 0) == pytest.approx(2, rel=0.05)  # (¼ · 2²)/(½ · 1²)
    assert abs(vqnp.swap_agreement(model, images, 0)) < 0.05


def test_swaps_are_their_equations(model, rng):
    many = rng.random((40, 4, 5), np.float32)
    codes = model.encode(many)
    partner = np.flatnonzero((codes != codes[0]).all(axis=1))[0]
    images = many[[0, partner]]  # two images can only lend to each other
    k = model.encode(images)
    whole = model.decode(k).astype(float)
    parts = np.zeros_like(whole)
    for m in range(3):
        swapped = k.copy()
        swapped[:, m] = k[::-1, m]
        parts += model.decode(swapped) - whole
    change = whole[::-1] - whole
    true = ((change - parts) ** 2).sum() / (change**2).sum()
    assert vqnp.swap_interaction(model, images, 3, 5) == pytest.approx(true) and true > 1e-4
    copies = images[[0] * 4 + [1] * 4]  # who shares a code is the same image
    assert vqnp.swap_agreement(model, copies, 0) == pytest.approx(1)
    assert math.isnan(vqnp.swap_interaction(model, copies[:4], 2, 0))
    assert math.isnan(vqnp.swap_agreement(model, copies[:4], 0))
    assert vqnp.swap_interaction(model, many, 2, 3) == vqnp.swap_interaction(
        model, many, 2, np.random.default_rng(3)
    )
    assert vqnp.swap_agreement(model, many, 3) == vqnp.swap_agreement(model, many, np.random.default_rng(3))


def test_a_path_ends_where_the_images_are_and_changes_only_with_its_codes(model, rng):
    a, b = rng.random((2, 4, 5), np.float32)
    path = vqnp.interpolate(model, a, b, 50)
    assert path.images[[0, -1]] == pytest.approx(model.reconstruct(np.stack([a, b])), abs=1e-6)
    assert path.t[[0, -1]].tolist() == [0, 1] and path.codes.shape == (50, 3)
    changes, steps = vqnp.code_changes(path.codes), vqnp.step_sizes(path.images)
    assert changes.shape == steps.shape == (49,) and steps[changes == 0].max() < 1e-6
    # along a line, a cell is convex: once left, a code does not come back
    for m in range(3):
        column = path.codes[:, m]
        assert np.count_nonzero(np.diff(column)) == len(set(column.tolist())) - 1
    still = vqnp.interpolate(model, a, a, 5)
    assert not vqnp.code_changes(still.codes).any() and vqnp.step_sizes(still.images).max() < 1e-6


@pytest.mark.parametrize("kind", [vqnp.Autoencoder, vqnp.VAE])
def test_a_path_of_a_continuous_model_is_decoded_at_each_point_of_the_line(kind, rng):
    made = kind((4, 5), latent_dim=3, hidden=(7,), rng=1, dtype="float64")
    a, b = rng.random((2, 4, 5))
    path = vqnp.interpolate(made, a, b, 9)
    z = made.latents(np.stack([a, b]))
    for t, image in zip(path.t, path.images, strict=True):
        point = [[(1 - t) * p + t * q for p, q in zip(*z, strict=True)]]
        assert image == pytest.approx(made.decode(np.array(point))[0], rel=1e-12)
    assert np.array_equal(path.images[[0, -1]], made.reconstruct(np.stack([a, b])))
    assert path.codes.shape == (9, 0) and path.codes.dtype == np.int64
    assert vqnp.code_changes(path.codes).tolist() == [0] * 8
    # half the step, half the change: nothing jumps
    coarse, fine = (vqnp.step_sizes(vqnp.interpolate(made, a, b, n + 1).images).max() for n in (500, 1000))
    assert fine == pytest.approx(coarse / 2, rel=0.02)


def test_steps_and_changes_are_their_equations(rng):
    x, k = rng.random((6, 3, 2)), rng.integers(3, size=(6, 4))
    steps = [math.sqrt(sum((x[t + 1] - x[t]).ravel() ** 2) / 6) for t in range(5)]
    assert vqnp.step_sizes(x) == pytest.approx(steps)
    true = [sum(int(a != b) for a, b in zip(k[t], k[t + 1], strict=True)) for t in range(5)]
    assert vqnp.code_changes(k).tolist() == true


def test_steps_of_bytes_are_in_units_of_the_pixel_range(rng):
    x = rng.integers(256, size=(5, 3, 2), dtype=np.uint8)
    assert vqnp.step_sizes(x) == pytest.approx(vqnp.step_sizes(x / 255))
    assert vqnp.step_sizes(x[:1]).tolist() == []


def test_the_ends_of_a_path_may_be_of_two_kinds(model, rng):
    """Black and white bytes beside floats: stacked, a byte's 1 was taken for white."""
    a, b = rng.integers(2, size=(4, 5), dtype=np.uint8), rng.random((4, 5), np.float32)
    path, same = vqnp.interpolate(model, a, b, 5), vqnp.interpolate(model, a / np.float32(255), b, 5)
    assert np.array_equal(path.images, same.images) and np.array_equal(path.codes, same.codes)


# --- what is refused ---

X = np.zeros((2, 4, 4))


ALIKE = "samples and images must have shape (n, ...), n at least {}, the rest alike"
SHAPE = "images must have shape (n, H, W), n at least 1, the others 2"
REFUSED = {
    "code_information: codes must have shape (n, M), both at least 1; got shape (2,)": lambda: (
        vqnp.code_information([1, 2], 4)
    ),
    "code_information: codes must be in [0, 4); got 4 at index (0, 0)": lambda: vqnp.code_information(
        [[4]], 4
    ),
    "class_information: labels must be integers of shape (2,); got int64 of shape (3,)": lambda: (
        vqnp.class_information([[0], [1]], [0, 1, 2], 2)
    ),
    "class_information: labels must not be negative; got -1": lambda: vqnp.class_information(
        [[0], [1]], [0, -1], 2
    ),
    "code_changes: codes must be integers of shape (T, M); got int64 of shape (2,)": lambda: (
        vqnp.code_changes([0, 1])
    ),
    "code_changes: codes must be an array; got parts of different lengths": lambda: vqnp.code_changes(
        [[0], [0, 1]]
    ),
    "code_length: fitted_to must be in [0, 2); got 2 at index (0, 1)": lambda: vqnp.code_length(
        [[0, 1]], [[0, 2]], 2
    ),
    "code_length: fitted_to must have 2 positions, as codes; got 1": lambda: vqnp.code_length(
        [[0, 1]], [[0]], 2
    ),
    "CodeChain: codes must have shape (n, M), both at least 1; got shape (2,)": lambda: vqnp.CodeChain(
        [0, 1], 2
    ),
    "CodeChain.sample: rng must be a numpy.random.Generator or an integer of at least 0; got -1": (
        lambda: vqnp.CodeChain([[0]], 2).sample(1, -1)
    ),
    "CodeChain: order must be an integer in [0, 1]; got 2": lambda: vqnp.CodeChain([[0]], 2, 2),
    "CodeChain: weight must be in (0, inf); got 0.0": lambda: vqnp.CodeChain([[0]], 2, weight=0),
    "CodeChain.code_length: codes must have 1 position; got 2": lambda: vqnp.CodeChain([[0]], 2).code_length(
        [[0, 1]]
    ),
    "CodeChain.code_length: codes must be in [0, 2); got 2 at index (0, 0)": lambda: vqnp.CodeChain(
        [[0]], 2
    ).code_length([[2]]),
    f"energy_distance: {ALIKE.format(2)}; got shapes (2, 4, 4) and (1, 4, 4)": lambda: vqnp.energy_distance(
        X, X[:1]
    ),
    f"nearest_distance: {ALIKE.format(1)}; got shapes (2, 4, 4) and (2, 4)": lambda: vqnp.nearest_distance(
        X, X[0, :2]
    ),
    "nearest_distance: images must be finite; got inf at index (0, 0, 0)": lambda: vqnp.nearest_distance(
        X, X + np.inf
    ),
    "nearest_distance: samples must be finite; got inf at index (0, 0, 0)": lambda: vqnp.nearest_distance(
        X + np.inf, X
    ),
    "psnr: mse must be in [0, inf); got -1.0": lambda: vqnp.psnr(-1),
    "psnr: peak must be in (0, inf); got 0.0": lambda: vqnp.psnr(1, 0),
    f"radial_spectrum: {SHAPE}; got shape (4, 4)": lambda: vqnp.radial_spectrum(X[0]),
    "relative_spectrum: reconstructions must have shape (2, 4, 4), as the images; got shape (1, 4, 4)": (
        lambda: vqnp.relative_spectrum(X[:1], X)
    ),
    "gradient_energy: images must be finite; got inf at index (0, 0, 0)": lambda: vqnp.gradient_energy(
        X + np.inf
    ),
    "sharpness: images must have an edge somewhere; got images that are flat": lambda: sharpness(X, X),
    "position_influence: images must hold at least 2 images; got 1": lambda: vqnp.position_influence(
        vqnp.VQVAE((4, 4)), X[:1], 0
    ),
    "swap_interaction: size must be an integer in [2, 16]; got 17": lambda: vqnp.swap_interaction(
        vqnp.VQVAE((4, 4)), X, 17, 0
    ),
    "swap_interaction: model must have at least 2 latents; got 1": lambda: vqnp.swap_interaction(
        vqnp.VQVAE((4, 4), num_latents=1), X, 2, 0
    ),
    "swap_agreement: images must hold at least 2 images; got 1": lambda: vqnp.swap_agreement(
        vqnp.VQVAE((4, 4)), X[:1], 0
    ),
    "interpolate: images must have shape (n, 4, 4) or (n, 16); got shape (1, 3, 4)": lambda: vqnp.interpolate(
        vqnp.VQVAE((4, 4)), X[0], X[1, :3], 5
    ),
    "step_sizes: images must have shape (T, ...), none of it 0; got shape (0, 4, 4)": lambda: vqnp.step_sizes(
        X[:0]
    ),
    "step_sizes: images must be finite; got inf at index (0, 0, 0)": lambda: vqnp.step_sizes(X + np.inf),
    "position_influence: model must be a VQVAE, whose codes can be swapped; got VAE": (
        lambda: vqnp.position_influence(vqnp.VAE((4, 4)), X, 0)
    ),
    "swap_interaction: model must be a VQVAE, whose codes can be swapped; got Autoencoder": (
        lambda: vqnp.swap_interaction(vqnp.Autoencoder((4, 4)), X, 2, 0)
    ),
    "interpolate: model must be a VQVAE, an Autoencoder or a VAE; got str": lambda: vqnp.interpolate(
        "runs/digits-1", X[0], X[1], 2
    ),
    "interpolate: steps must be an integer of at least 2; got 1": lambda: vqnp.interpolate(
        vqnp.VQVAE((4, 4)), X[0], X[1], 1
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_is_refused_is_said(sentence):
    with pytest.raises(InputError) as error:
        REFUSED[sentence]()
    assert str(error.value) == sentence
