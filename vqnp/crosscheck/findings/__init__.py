"""What the answers show: one file for each group of dimensions of the fingerprint."""
