"""Pure functions in pairs: op_forward(...) -> (outputs..., cache), op_backward(..., cache) -> gradients."""

from vqnp.ops.activation import (
    gate_backward, gate_forward, gelu_backward, gelu_forward, leaky_relu_backward, leaky_relu_forward,
    relu_backward, relu_forward, sigmoid, sigmoid_backward, sigmoid_forward, silu_backward, silu_forward,
    tanh_backward, tanh_forward,
)
from vqnp.ops.attention import (
    attention_backward, attention_forward, self_attention_backward, self_attention_forward,
)
from vqnp.ops.bit_entropy import bit_entropy_backward, bit_entropy_forward
from vqnp.ops.causal_conv import causal_conv_backward, causal_conv_forward, causal_taps
from vqnp.ops.code_conv import code_conv_backward, code_conv_forward
from vqnp.ops.conv import conv_backward, conv_forward, conv_transpose_backward, conv_transpose_forward
from vqnp.ops.dropout import dropout_backward, dropout_forward
from vqnp.ops.ema import EMAState, ema_codes, ema_initialize, ema_restart, ema_update, laplace_smoothing
from vqnp.ops.embedding import embedding_backward, embedding_forward
from vqnp.ops.finite_scalar import finite_scalar_backward, finite_scalar_decode, finite_scalar_forward
from vqnp.ops.gaussian import (
    gaussian_kl_backward, gaussian_kl_forward, gaussian_kl_terms, gaussian_nll_backward, gaussian_nll_forward,
    reparameterise_backward, reparameterise_forward,
)
from vqnp.ops.gumbel import (
    categorical_kl_backward, categorical_kl_forward, gumbel_noise, gumbel_softmax_backward,
    gumbel_softmax_forward,
)
from vqnp.ops.linear import linear_backward, linear_forward
from vqnp.ops.lloyd import kmeans
from vqnp.ops.logit_laplace import logit_laplace_nll_backward, logit_laplace_nll_forward
from vqnp.ops.lookup_free import lookup_free_backward, lookup_free_decode, lookup_free_forward
from vqnp.ops.loss import (
    bce_logits_backward, bce_logits_forward, mse_backward, mse_forward, softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from vqnp.ops.mu_law import (
    mu_law_backward, mu_law_decode, mu_law_encode, mu_law_forward, mu_law_inverse_backward,
    mu_law_inverse_forward,
)
from vqnp.ops.norm import group_norm_backward, group_norm_forward, layer_norm_backward, layer_norm_forward
from vqnp.ops.product_codes import product_quantize_backward, product_quantize_forward
from vqnp.ops.quantize import quantize_backward, quantize_forward
from vqnp.ops.residual_quantize import residual_quantize_backward, residual_quantize_forward
from vqnp.ops.resize import pixel_shuffle_backward, pixel_shuffle_forward, upsample_backward, upsample_forward
from vqnp.ops.rotation import rotate_backward, rotate_forward
from vqnp.ops.simvq import simvq_backward, simvq_forward
from vqnp.ops.spectral_loss import spectral_loss_backward, spectral_loss_forward
from vqnp.ops.sphere import (
    cosine_quantize_backward, cosine_quantize_forward, normalize_backward, normalize_forward,
    spherical_ema_update,
)
from vqnp.ops.stft import stft_backward, stft_forward

__all__ = [
    "EMAState", "attention_backward", "attention_forward", "bce_logits_backward", "bce_logits_forward",
    "categorical_kl_backward", "categorical_kl_forward", "causal_conv_backward", "causal_conv_forward",
    "causal_taps", "code_conv_backward", "code_conv_forward", "conv_backward", "conv_forward",
    "conv_transpose_backward", "conv_transpose_forward", "cosine_quantize_backward",
    "cosine_quantize_forward", "dropout_backward", "dropout_forward", "ema_codes", "ema_initialize",
    "ema_restart", "ema_update", "embedding_backward", "embedding_forward", "finite_scalar_backward",
    "finite_scalar_decode", "finite_scalar_forward", "gate_backward", "gate_forward", "gaussian_kl_backward",
    "gaussian_kl_forward", "gaussian_kl_terms", "gaussian_nll_backward", "gaussian_nll_forward",
    "gelu_backward", "gelu_forward", "group_norm_backward", "group_norm_forward", "gumbel_noise",
    "gumbel_softmax_backward", "gumbel_softmax_forward", "kmeans", "laplace_smoothing", "layer_norm_backward",
    "layer_norm_forward", "leaky_relu_backward", "leaky_relu_forward", "linear_backward", "linear_forward",
    "lookup_free_backward", "lookup_free_decode", "lookup_free_forward", "residual_quantize_backward",
    "residual_quantize_forward", "bit_entropy_backward", "bit_entropy_forward",
    "logit_laplace_nll_backward", "logit_laplace_nll_forward", "mse_backward", "mse_forward",
    "mu_law_backward", "mu_law_decode", "mu_law_encode", "mu_law_forward", "mu_law_inverse_backward",
    "mu_law_inverse_forward",
    "normalize_backward", "normalize_forward", "pixel_shuffle_backward", "pixel_shuffle_forward",
    "product_quantize_backward", "product_quantize_forward", "quantize_backward", "quantize_forward",
    "relu_backward", "relu_forward", "reparameterise_backward", "reparameterise_forward", "rotate_backward",
    "rotate_forward", "self_attention_backward", "self_attention_forward", "sigmoid", "sigmoid_backward",
    "sigmoid_forward", "silu_backward", "silu_forward", "simvq_backward", "simvq_forward",
    "softmax_cross_entropy_backward", "softmax_cross_entropy_forward", "spectral_loss_backward",
    "spectral_loss_forward",
    "spherical_ema_update", "stft_backward", "stft_forward",
    "tanh_backward", "tanh_forward", "upsample_backward", "upsample_forward",
]
