"""Is a quantizer of another family correct: residual, finite scalar, lookup-free, cosine, rotated?

z: (N, D) -> z_q: (N, D), k: (N,) or (N, n), L: (); G: (N, D) -> dz: (N, D), the gradient of L + ⟨G, z_q⟩
"""
