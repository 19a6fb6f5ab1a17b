"""Bugs that famous repositories had for years, each as one fragment of one of our functions.

Bug(name, "module:function", the right fragment, the wrong one, the test of tests/test_smoke.py that fails).
Fragments are compared as syntax (planting.py), so that formatting does not matter; each bug is planted in a
copy of the package (test_bugs.py).
"""

from typing import NamedTuple


class Bug(NamedTuple):
    """One planted bug and the test that must see it.

    crosschecked: vqnp.crosscheck.check must see it too; autoregressive: check_autoregressive must
    """

    name: str
    place: str
    right: str
    wrong: str
    caught_by: str
    crosschecked: bool = False
    autoregressive: bool = False

    @property
    def asked(self) -> str:
        """The test in which vqnp.crosscheck is asked, which must fail too; "" for none."""
        if self.autoregressive:
            return "test_check_autoregressive"
        return "test_crosscheck" if self.crosschecked else ""


MUSEUM = [
    Bug(
        "beta on the codebook term",
        "ops.quantize:quantize_backward",
        """
dz = dz_q + dL * 2 * c * beta * r
dE = np.zeros((K, r.shape[-1]), r.dtype)
if codebook_loss:
    dE -= dL * 2 * c * unchecked(code_statistics)(r, k, K).sums
""",
        """
dz = dz_q + dL * 2 * c * r
dE = np.zeros((K, r.shape[-1]), r.dtype)
if codebook_loss:
    dE -= dL * 2 * c * beta * unchecked(code_statistics)(r, k, K).sums
""",
        "test_surrogate",
        crosschecked=True,
    ),
    Bug(
        "loss computed after straight-through: the codebook gets no gradient",
        "ops.quantize:quantize_backward",
        "dE -= dL * 2 * c * unchecked(code_statistics)(r, k, K).sums",
        "",
        "test_surrogate",
        crosschecked=True,
    ),
    Bug(
        "the decoder's gradient leaks into the codebook",
        "ops.quantize:quantize_backward",
        "dE -= dL * 2 * c * unchecked(code_statistics)(r, k, K).sums",
        "dE += code_statistics(dz_q - dL * 2 * c * r, k, K).sums",
        "test_surrogate",
        crosschecked=True,
    ),
    Bug(
        "finite scalar: an even number of levels without the offset of a half",
        "ops.finite_scalar:constants",
        "np.where(L % 2 == 0, 0.5, 0.0)",
        "np.where(L % 2 == 0, 0.0, 0.0)",
        "test_finite_scalar",
    ),
    Bug(
        "finite scalar: straight through tanh as well as through the rounding",
        "kernels.finite_scalar:finite_scalar_gradient_plain",
        "np.asarray(dz_q * (grid.h / grid.a) * (1 - t * t))",
        "np.asarray(dz_q * (grid.h / grid.a))",
        "test_finite_scalar",
    ),
    Bug(
        "rotation trick: the gradient rotated away from the vector, R for its transpose",
        "ops.rotation:rotate_backward",
        "scale * (dy - 2 * r * _dot(r, dy) + 2 * z_hat * _dot(q_hat, dy))",
        "scale * (dy - 2 * r * _dot(r, dy) + 2 * q_hat * _dot(z_hat, dy))",
        "test_rotation",
        crosschecked=True,
    ),
    Bug(
        "rotation trick: a code of length 0 stops the gradient",
        "ops.rotation:rotate_forward",
        "scale = np.where(none, 1, length_q / np.where(none, 1, length_z)).astype(z.dtype)",
        "scale = (length_q / np.where(none, 1, length_z)).astype(z.dtype)",
        "test_rotation",
    ),
    Bug(
        "cosine codes: the gradient copied past the normalisation",
        "ops.sphere:cosine_quantize_backward",
        "return normalize_backward(dz_hat, z_cache), normalize_backward(dE_hat, E_cache)",
        "return dz_hat, normalize_backward(dE_hat, E_cache)",
        "test_cosine_codes",
    ),
    Bug(
        "cosine codes: the mean of the unit vectors, which lies within the sphere",
        "ops.sphere:spherical_ema_update",
        "direction, _ = normalize_forward(m)",
        "direction = m / N[:, None]",
        "test_cosine_codes",
    ),
    Bug(
        "SimVQ: codes computed without a gradient, so that W is not trained",
        "ops.simvq:simvq_backward",
        "return dz, linear_dW(C, np.ascontiguousarray(dE))",
        "return dz, linear_dW(C, np.zeros_like(dE))",
        "test_simvq",
    ),
    Bug(
        "product codes: the means of the parts added up, G times the loss",
        "ops.product_codes:part_weight",
        'return 1 / G if reduction == "mean" else 1.0',
        "return 1.0",
        "test_product_codes",
    ),
    Bug(
        "Gumbel-softmax: the sign of the noise",
        "ops.gumbel:gumbel_noise",
        "return -np.log(np.maximum(exponential, np.finfo(dtype).tiny))",
        "return np.log(np.maximum(exponential, np.finfo(dtype).tiny))",
        "test_gumbel_softmax",
    ),
    Bug(
        "Gumbel-softmax: the temperature forgotten in the gradient",
        "ops.gumbel:gumbel_softmax_backward",
        "da = y * (dy - (y * dy).sum(axis=-1, keepdims=True)) / y.dtype.type(tau)",
        "da = y * (dy - (y * dy).sum(axis=-1, keepdims=True))",
        "test_gumbel_softmax",
    ),
    Bug(
        "residual: a straight-through step at each depth, so that the gradient is multiplied by their number",
        "ops.residual_quantize:residual_quantize_backward",
        "residual_gradient(dz_q.reshape(rows.shape), rows, E, k, dL * 2 * c * beta)",
        "residual_gradient(k.shape[1] * dz_q.reshape(rows.shape), rows, E, k, dL * 2 * c * beta)",
        "test_residual",
    ),
    Bug(
        "residual: no commitment from the second depth on",
        "kernels.residual:residual_gradient_plain",
        "residuals_plain(z, E, k)",
        "residuals_plain(z, E, k)[:1]",
        "test_residual",
    ),
    Bug(
        "lookup-free: the entropy of the batch is made small, not large",
        "nn.quantizers.lookup_free:LookupFreeQuantizer.backward",
        "bit_entropy_backward(w, -self.diversity_weight * w, entropies)",
        "bit_entropy_backward(w, self.diversity_weight * w, entropies)",
        "test_lookup_free",
    ),
    Bug(
        "no straight-through: the encoder gets the commitment gradient alone",
        "ops.quantize:quantize_backward",
        "dz = dz_q + dL * 2 * c * beta * r",
        "dz = 0 * dz_q + dL * 2 * c * beta * r",
        "test_surrogate",
        crosschecked=True,
    ),
    Bug(
        "the commitment gradient pushes away",
        "ops.quantize:quantize_backward",
        "dz = dz_q + dL * 2 * c * beta * r",
        "dz = dz_q - dL * 2 * c * beta * r",
        "test_surrogate",
        crosschecked=True,
    ),
    Bug(
        "the loss grows with the batch",
        "ops.loss:reduction_scale",
        'return (shape[-1] if shape and reduction == "mean_of_sums" else 1) / entries',
        'return 1.0 if shape and reduction == "mean_of_sums" else 1 / entries',
        "test_tiling_a_batch",
        crosschecked=True,
    ),
    Bug(
        "smoothing not normalised: codes shrink",
        "ops.ema:laplace_smoothing",
        "(N + epsilon) / denominator * total",
        "N + epsilon",
        "test_smoothing_keeps_the_mass",
        crosschecked=True,
    ),
    Bug(
        "the smoothed counts written back",
        "ops.ema:ema_step",
        "EMAState(E, N, m, t)",
        "EMAState(E, laplace_smoothing(N, epsilon), m, t)",
        "test_ema_is_its_equations",
        crosschecked=True,
    ),
    Bug(
        "the averages start from zero counts",
        "ops.ema:ema_initialize",
        "EMAState(E.copy(), np.ones(K, E.dtype), E.copy())",
        "EMAState(E.copy(), np.zeros(K, E.dtype), E.copy())",
        "test_unused_codes_stay",
        crosschecked=True,
    ),
    Bug(
        "codes of the EMA used before they exist: forward looks ahead",
        "nn.quantizers.vector:VectorQuantizer.forward",
        """
return quantize_forward(
    z,
    self.embeddings,
    beta=self.commitment_cost,
    codebook_loss=self.has_codebook_loss,
    reduction=self.reduction,
    estimator=self.estimator,
)
""",
        """
k = self.encode(z)
return quantize_forward(
    z,
    self.embeddings if self.has_codebook_loss else self.next_state(z, k).E,
    k,
    beta=self.commitment_cost,
    codebook_loss=self.has_codebook_loss,
    reduction=self.reduction,
    estimator=self.estimator,
)
""",
        "test_forward_uses_the_codes_from_before",
        crosschecked=True,
    ),
    Bug(
        "decay and 1 - decay exchanged",
        "ops.ema:ema_step",
        "m = decay * state.m + (1 - decay) * s",
        "m = (1 - decay) * state.m + decay * s",
        "test_ema_is_its_equations",
        crosschecked=True,
    ),
    Bug(
        "k-means start with m = mu",
        "nn.quantizers.ema:EMAVectorQuantizer._set_codebook",
        "EMAState(E, n, n[:, None] * E)",
        "EMAState(E, n, E)",
        "test_a_kmeans_start_survives_its_updates",
        crosschecked=True,
    ),
    Bug(
        "a restart that leaves m: the next update undoes it",
        "ops.ema:restarted_at",
        "m[j] = N[j, None] * E[j]",
        "",
        "test_a_restart_survives_its_updates",
        crosschecked=True,
    ),
    Bug(
        "a restart that leaves N",
        "ops.ema:restarted_at",
        "N[j] = state.N.mean()",
        "",
        "test_a_restart_survives_its_updates",
    ),
    Bug(
        "ties to the highest index",
        "kernels.nearest.plain:_direct_sums",
        "distance[j] < distance[best]",
        "distance[j] <= distance[best]",
        "test_nearest",
        crosschecked=True,
    ),
    Bug(
        "distance in float32",
        "kernels.nearest.plain:_direct_sums",
        "distance = np.empty(K, np.float64)",
        "distance = np.empty(K, np.float32)",
        "test_nearest",
    ),
    Bug(
        "a code certified by any lead",
        "kernels.nearest.tile:certify",
        "np.float64(lead[n - start]) > 2 * B",
        "np.float64(lead[n - start]) > 0 * B",
        "test_nearest",
    ),
    Bug(
        "rivals sought in other panels only",
        "kernels.nearest.tile:_tile",
        "rival = e.larger(b.load(runner_up), b.load(second[v]))",
        "rival = b.load(second[v])",
        "test_nearest",
    ),
    Bug(
        "W transposed in the backward pass",
        "ops.linear:linear_backward",
        "linear_dW(x, dy)",
        "linear_dW(dy, x).reshape(cache[1].shape)",
        "test_gradients",
    ),
    Bug(
        "the bias gradient averaged",
        "ops.linear:linear_backward_rows",
        "drows.sum(axis=0)",
        "drows.mean(axis=0)",
        "test_gradients",
    ),
    Bug(
        "softmax's gradient without the one-hot",
        "ops.loss:softmax_cross_entropy_backward",
        "np.take_along_axis(da, k[..., None], axis=-1) - 1",
        "np.take_along_axis(da, k[..., None], axis=-1)",
        "test_gradients",
    ),
    Bug(
        "GELU's gradient without its second term",
        "kernels.gelu:gelu_plain",
        "phi + near * (PER_ROOT_TWO_PI * np.exp(-near * near / 2))",
        "phi",
        "test_gradients",
    ),
    Bug(
        "MSE's gradient without the 2",
        "ops.loss:mse_backward",
        "2 * c",
        "c",
        "test_gradients",
    ),
    Bug(
        "gradients overwritten at a fork",
        "nn.module:Param.add_grad",
        "self._grad += d",
        "self._grad = d",
        "test_gradients_accumulate",
    ),
    Bug(
        "Adam without bias correction",
        "kernels.adam:adam_step_plain",
        "value -= lr / (1 - beta1**t) * (m / (np.sqrt(v * (1 / (1 - beta2**t))) + epsilon))",
        "value -= lr * (m / (np.sqrt(v) + epsilon))",
        "test_adam",
    ),
    Bug(
        "Adam's moments sink into subnormal numbers and stay there",
        "kernels.adam:adam_step_plain",
        "m[:] = flush(beta1 * m + (1 - beta1) * grad)",
        "m[:] = beta1 * m + (1 - beta1) * grad",
        "test_averages_are_never_subnormal",
    ),
    Bug(
        "averages of an unused code sink into subnormal numbers",
        "ops.ema:ema_step",
        "N, m = flush_faded(N, m)",
        "",
        "test_averages_are_never_subnormal",
    ),
    Bug(
        "perplexity of an almost unused code from log(p + 1e-10)",
        "metrics.codebook:perplexity",
        "float(np.clip(np.exp(-(p * np.log(p)).sum()), 1, used.size))",
        "float(np.exp(-(p * np.log(p + 1e-10)).sum()))",
        "test_perplexity",
        crosschecked=True,
    ),
    Bug(
        "a checkpoint without the cluster sizes",
        "nn.quantizers.ema:_as_buffers",
        '{"E": E, "N": N, "m": m, "t": np.asarray(t, np.int64)}',
        '{"E": E, "t": np.asarray(t, np.int64)}',
        "test_state_is_complete",
    ),
    Bug(
        "exp(logvar) taken for the standard deviation",
        "ops.gaussian:reparameterise_forward",
        "sigma = np.exp(logvar / 2)",
        "sigma = np.exp(logvar)",
        "test_moments",
    ),
    Bug(
        "the KL without its mean",
        "ops.gaussian:gaussian_kl_terms",
        "mu * mu + np.maximum(np.expm1(logvar) - logvar, 0)",
        "np.maximum(np.expm1(logvar) - logvar, 0)",
        "test_moments",
    ),
    Bug(
        "padding on one side only",
        "ops._windows:Windows.inside",
        "slice(before, before + n)",
        "slice(2 * before, 2 * before + n)",
        "test_convolution",
    ),
    Bug(
        "a frame whose border is not zero",
        "ops._windows:Windows.frame",
        "framed(x.reshape(len(x), *plane.pixels, x.shape[-1]), *plane.padding)",
        "1 + framed(x.reshape(len(x), *plane.pixels, x.shape[-1]) - 1, *plane.padding)",
        "test_convolution",
    ),
    Bug(
        "output padding forgotten",
        "ops._windows:windows_under",
        "d[i] * (kernel[i] - 1) + 1 + more[i] - sum(pad[i])",
        "d[i] * (kernel[i] - 1) + 1 - sum(pad[i])",
        "test_convolution",
    ),
    Bug(
        "the taps of odd pixels for the even ones in a strided transpose",
        "ops._windows:_axis",
        "pixels = np.arange((r - p) % s, g.pixels[i], s)",
        "pixels = np.arange(r, g.pixels[i], s)",
        "test_convolution",
    ),
    Bug(
        "pixel shuffle with the channels of a block apart",
        "ops.resize:pixel_shuffle_forward",
        "split = x.reshape(B, *S, C, *f)",
        "split = x.reshape(B, *S, *f, C).transpose(*range(n + 1), 2 * n + 1, *range(n + 1, 2 * n + 1))",
        "test_pixel_shuffle",
    ),
    Bug(
        "layer norm's gradient with σ held constant",
        "kernels.layer_norm:layer_norm_gradient_plain",
        "scale * (dx_hat - along_1 - x_hat * along_x)",
        "scale * (dx_hat - along_1)",
        "test_gradients",
    ),
    Bug(
        "residual blocks that share their weights by mistake",
        "nn.residual:residual_stack",
        "layers.append(Residual(inner))",
        "layers.append(layers[0] if layers else Residual(inner))",
        "test_residual_stack",
    ),
    Bug(
        "an activation in place, which changes what the skip connection adds",
        "ops.activation:relu_forward",
        "np.maximum(x, 0)",
        "np.maximum(x, 0, out=x)",
        "test_residual_stack",
    ),
    Bug(
        "an embedding's gradient that keeps the last of several equal codes",
        "ops.embedding:embedding_backward",
        "return unchecked(code_statistics)(dy, k, K).sums.astype(dtype, copy=False)",
        """
import numpy as np
dE = np.zeros((K, D), dtype)
dE[k] = dy
return dE
""",
        "test_gradients",
    ),
    Bug(
        "attention's softmax gradient without the sum over the row",
        "kernels.attention:attention_gradient_plain",
        "P * (dP - (do * o).sum(axis=-1).transpose(0, 2, 1)[..., None])",
        "P * dP",
        "test_gradients",
    ),
    Bug(
        "no causal mask where the keys of a prefix are there",
        "kernels.attention:later",
        "return np.arange(S) > np.arange(S - T, S)[:, None]",
        "return (np.arange(S) > np.arange(S - T, S)[:, None]) & (T == S)",
        "test_attention_is_causal",
        autoregressive=True,
    ),
    Bug(
        "a causal mask that lets each query see one key too many",
        "kernels.attention:later",
        "np.arange(S - T, S)",
        "np.arange(S - T + 1, S + 1)",
        "test_attention_is_causal",
        autoregressive=True,
    ),
    Bug(
        "no causal mask at all",
        "kernels.attention:attention_plain",
        "scores = np.where(later(T, S), -np.inf, scores)",
        "",
        "test_attention_is_causal",
        autoregressive=True,
    ),
    Bug(
        "a mask of -1 instead of -inf",
        "kernels.attention:attention_plain",
        "scores = np.where(later(T, S), -np.inf, scores)",
        "scores = np.where(later(T, S), scores - 1, scores)",
        "test_attention_is_causal",
        autoregressive=True,
    ),
    Bug(
        "a causal mask aligned at the upper left",
        "kernels.attention:later",
        "np.arange(S - T, S)",
        "np.arange(T)",
        "test_attention_is_causal",
        autoregressive=True,
    ),
    Bug(
        "a causal mask that hides the query's own position",
        "kernels.attention:later",
        "np.arange(S) > np.arange(S - T, S)[:, None]",
        "np.arange(S) >= np.maximum(np.arange(S - T, S)[:, None], 1)",
        "test_attention_is_causal",
    ),
    Bug(
        "mask A lets the centre through",
        "ops.causal_conv:causal_taps",
        "number <= number.size // 2 if centre else number < number.size // 2",
        "(number <= number.size // 2) & (centre | (number > 0))",
        "test_causal_convolution",
    ),
    Bug(
        "a convolution of codes whose gradient goes to the code at the pixel, not to that under the tap",
        "ops.code_conv:code_conv_backward",
        "np.ascontiguousarray(k[seen]).reshape(-1)",
        "np.ascontiguousarray(k[to]).reshape(-1)",
        "test_gradients",
    ),
    Bug(
        "mask B in the first layer of a PixelCNN: each position reads the code that it predicts",
        "priors.gated_blocks:OneStack.__init__",
        "before(kernel, False)",
        "before(kernel, True)",
        "test_a_pixelcnn_is_causal",
    ),
    Bug(
        "mask B in the first layer of the horizontal stack",
        "priors.gated_blocks:TwoStacks.__init__",
        "left(kernel, False)",
        "left(kernel, True)",
        "test_a_pixelcnn_is_causal",
    ),
    Bug(
        "a vertical stack that is not shifted: it hands over the row that is being predicted",
        "priors.gated_blocks:TwoStacks.__init__",
        "above(kernel, False)",
        "above(kernel, True)",
        "test_a_pixelcnn_is_causal",
    ),
    Bug(
        "a vertical stack that hands over nothing: the rows above are never seen",
        "priors.gated_blocks:TwoStacks.forward",
        "self.finish(H + linked, cH, h, rng)",
        "self.finish(H, cH, h, rng)",
        "test_a_pixelcnn_is_causal",
    ),
    Bug(
        "a residual whose gradient is forgotten",
        "priors.gated_blocks:TwoStacks.backward_all",
        "dh + dh_in",
        "dh_in",
        "test_a_pixelcnns_gradients",
    ),
    Bug(
        "rows that are kept for sampling and not moved on with the row that begins",
        "priors.gated_blocks:Frame.next_row",
        "self.x[:, :-1] = self.x[:, 1:].copy()",
        "",
        "test_a_pixelcnns_cached_logits_are_the_full_ones",
    ),
    Bug(
        "the length of a row taken from the other axis: right on square grids only",
        "priors.pixelcnn:PixelCNN._advance",
        "self.latent_shape[1]",
        "self.latent_shape[0]",
        "test_a_pixelcnns_cached_logits_are_the_full_ones",
    ),
    Bug(
        "dropout that does not scale what it keeps",
        "ops.dropout:dropout_forward",
        "kept * x.dtype.type(1 / (1 - p))",
        "kept * x.dtype.type(1)",
        "test_dropout",
    ),
    Bug(
        "the start token is code 0",
        "priors.transformer:Transformer._tokens",
        "np.broadcast_to(self.start.value, (B, 1, C))",
        "np.broadcast_to(self.embedding.E.value[0], (B, 1, C))",
        "test_a_priors_start_is_no_code_and_its_null_class_is_no_class",
        autoregressive=True,
    ),
    Bug(
        "the input is not shifted: each position reads the code that it predicts",
        "priors.transformer:Transformer.logits_forward",
        "self._hidden(codes[:, :-1], labels, rng, above)",
        "self._hidden(codes[:, 1:], labels, rng, above)",
        "test_a_prior_is_causal",
        autoregressive=True,
    ),
    Bug(
        "the input is shifted twice: the last code is never read",
        "priors.transformer:Transformer.logits_forward",
        "self._hidden(codes[:, :-1], labels, rng, above)",
        "self._hidden(np.concatenate([codes[:, :1] * 0, codes[:, :-2]], axis=1), labels, rng, above)",
        "test_a_prior_is_causal",
        autoregressive=True,
    ),
    Bug(
        "positions that begin at 0 again with each chunk",
        "priors.transformer:Transformer._extend",
        "x = x + self.positions.value[start:stop]",
        "x = x + self.positions.value[: stop - start]",
        "test_cached_logits_are_the_full_ones",
        autoregressive=True,
    ),
    Bug(
        "a chunk that ignores the keys and values before it",
        "nn.attention:CausalSelfAttention.extend",
        "o = attend(qkv, past, start)",
        "o = attend(qkv, self.room(*x.shape[:2]), 0)",
        "test_cached_logits_are_the_full_ones",
        autoregressive=True,
    ),
    Bug(
        "a norm over the positions of a prior",
        "ops.norm:layer_norm_forward",
        "y, x_hat, scale = layer_norm(_rows(x), gamma, beta, epsilon)",
        """
x_hat, scale = _normalize(x, (-2, -1), epsilon)
y = gamma * x_hat + beta
""",
        "test_a_prior_is_causal",
        autoregressive=True,
    ),
    Bug(
        "dropout while a prior is evaluated",
        "priors.transformer:Transformer._hidden",
        "block.forward(x, rng)",
        "block.forward(x, np.random.default_rng(0))",
        "test_a_prior_drops_only_in_training",
    ),
    Bug(
        "dropout while samples are drawn",
        "nn.attention:TransformerBlock.extend_plain",
        "self.mlp.forward(self.mlp_norm.forward(x)[0])[0]",
        """
dropout_forward(
    self.mlp.forward(self.mlp_norm.forward(x)[0])[0],
    self.dropout,
    np.random.default_rng(start),
)[0]
""",
        "test_check_autoregressive",
        autoregressive=True,
    ),
    Bug(
        "top-k that keeps one code too many",
        "priors.sampling:probabilities",
        "np.partition(a, K - choice.top_k, axis=-1)[..., K - choice.top_k, None]",
        "np.partition(a, K - choice.top_k - 1, axis=-1)[..., K - choice.top_k - 1, None]",
        "test_samples",
        autoregressive=True,
    ),
    Bug(
        "a temperature that is multiplied",
        "priors.sampling:probabilities",
        "(a - top) / choice.temperature",
        "(a - top) * choice.temperature",
        "test_samples",
        autoregressive=True,
    ),
    Bug(
        "top-p that leaves out the code that crosses it, perhaps the only one",
        "priors.sampling:probabilities",
        "before >= choice.top_p",
        "before + ordered > choice.top_p",
        "test_samples",
        autoregressive=True,
    ),
    Bug(
        "the temperature after the likeliest codes have been chosen",
        "priors.sampling:probabilities",
        "before = np.cumsum(ordered, axis=-1) - ordered",
        """
warm = ordered ** choice.temperature
warm /= warm.sum(axis=-1, keepdims=True)
before = np.cumsum(warm, axis=-1) - warm
""",
        "test_samples",
        autoregressive=True,
    ),
    Bug(
        "guidance where 0, not 1, means none",
        "priors.sampling:guide",
        "unconditional + guidance * (conditional - unconditional)",
        "conditional + guidance * (conditional - unconditional)",
        "test_samples",
    ),
    Bug(
        "one random stream for all samples, so that a draw depends on their number",
        "priors.sampling:streams",
        "[one.random(draws) for one in rng.spawn(n)]",
        "rng.random((draws, n)).T",
        "test_samples",
    ),
    Bug(
        "a tied head whose gradient is forgotten",
        "priors.transformer:Transformer._output_backward",
        "self.embedding.E.add_grad(np.ascontiguousarray(dW.T))",
        "None",
        "test_a_tied_head_has_both_gradients",
    ),
    Bug(
        "precision and recall exchanged",
        "metrics.neighbours:precision_recall",
        "PrecisionRecall(float(inside.mean()), float(around.mean()))",
        "PrecisionRecall(float(around.mean()), float(inside.mean()))",
        "test_precision_is_of_samples_and_recall_of_images",
    ),
    Bug(
        "a point is the first of its own neighbours, so that balls are too small",
        "metrics.neighbours:_radii",
        "np.partition(d2, k, axis=1)[:, k]",
        "np.partition(d2, k - 1, axis=1)[:, k - 1]",
        "test_precision_is_of_samples_and_recall_of_images",
    ),
    Bug(
        "the probability beyond the last grey level is lost",
        "metrics.likelihood:_nats",
        "_log_sigmoid(-b) * (v > 0)",
        "_log_sigmoid(-b)",
        "test_grey_levels_have_probabilities_that_add_up_to_one",
    ),
    Bug(
        "weight decay of biases and norms too",
        "optim:Adam.step",
        "self.weight_decay and p.value.ndim >= 2",
        "self.weight_decay",
        "test_weight_decay_is_for_matrices",
    ),
    Bug(
        "each gradient is clipped by itself",
        "optim:Adam._clipping",
        "norm = math.sqrt(sum(squares))",
        "norm = math.sqrt(max(squares))",
        "test_clipping_keeps_the_direction",
    ),
    Bug(
        "the gradient between levels is lost: the levels above get that of the decoder alone",
        "models.level:Level.backward",
        "da_above if stopped else da_above + da_condition",
        "da_above",
        "test_gradients_between_levels",
    ),
    Bug(
        "an encoder gets no gradient from the level above it",
        "models.hierarchical:HierarchicalVQVAE.backward",
        "own + d",
        "own + 0 * d",
        "test_gradients_between_levels",
    ),
    Bug(
        "a level is tested with its own codes, so that each seems to carry nothing",
        "evaluation.levels:evaluate_levels",
        "np.roll(k[l], len(batch) // 2, axis=0)",
        "np.roll(k[l], len(batch), axis=0)",
        "test_what_a_level_carries_is_measured_with_another_images_codes",
    ),
    Bug(
        "a sampler that reads the codes above at the first row for every row",
        "priors.gated_blocks:TwoStacks.extend",
        "slice(i, i + 1)",
        "slice(0, 1)",
        "test_a_prior_below_a_level_samples_as_it_was_trained",
    ),
    Bug(
        "the gradient of a prefix goes to the places of other codes",
        "priors.transformer:Transformer._tokens_backward",
        "dx[:, first:last]",
        "dx[:, first - self.condition_positions : last - self.condition_positions]",
        "test_a_prior_below_a_levels_gradients",
    ),
]
