"""Is vector-quantize-pytorch correct? Three of its configurations, each checked in a second or two.

python examples/crosscheck_vq_pytorch.py

Needs the crosscheck extra: pip install -e '.[crosscheck]'. docs/crosscheck.md explains the
output.
"""

from __future__ import annotations

from vqnp.crosscheck import check
from vqnp.crosscheck.adapters.vq_pytorch import CONSISTENT, VQPytorch


def main() -> None:
    """Print a report for each."""
    learnable = {"learnable_codebook": True, "ema_update": False}
    for title, settings in (
        ("With the settings that correspond to vqnp's default", CONSISTENT),
        ("With its default settings", {}),
        ("With a learnable codebook", learnable),
    ):
        print(f"== {title}\n\n{check(VQPytorch(**settings))}\n")


if __name__ == "__main__":
    main()
