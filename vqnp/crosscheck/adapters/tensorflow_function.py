"""A TensorFlow function (z, E) -> (z_q, codes, loss) as an adapter: `check(TensorFlowFunction(quantize))`."""

from typing import Any

import numpy as np
import tensorflow as tf

from vqnp._check import Array
from vqnp.crosscheck.adapters.functions import FunctionAdapter
from vqnp.crosscheck.adapters.outputs import sort_outputs


class TensorFlowFunction(FunctionAdapter):
    """A function of tensors, differentiated by a GradientTape; its parameters are FunctionAdapter's."""

    def array(self, a: Array) -> Any:
        return tf.constant(a)

    def backward(self, z: Array, E: Array, G: Array) -> tuple[Array, Array]:
        leaves = self.array(z), self.array(E)
        with tf.GradientTape() as tape:
            tape.watch(leaves)
            out = sort_outputs(self.function(*leaves), z.size, len(E))
            total = tf.reduce_sum(G * tf.reshape(out["z_q"], z.shape))
            total = total if out["L"] is None else total + tf.reduce_sum(out["L"])
        found = tape.gradient(total, leaves, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        dz, dE = (np.asarray(tf.convert_to_tensor(g)) for g in found)  # a gather's gradient is sparse
        return dz, dE
