"""Is a model of p(k) = Π_m p(k_m | k_1, …, k_{m−1}) correct? The check uses its logits alone.

codes: (B, M) or (B, H, W) -> logits: (B, M, K) or (B, H, W, K)
"""
