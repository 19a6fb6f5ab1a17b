"""`vqnp bench`: how fast this machine is, and which share of its peak the kernels reach."""
