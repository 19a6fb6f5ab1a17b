"""The verdict: comparison with the reference, the printed report, tests, files for other languages."""
