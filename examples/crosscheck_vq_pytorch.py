"""Is vector-quantize-pytorch right? Three of its settings, each checked in a second or two.

python examples/crosscheck_vq_pytorch.py

Needs the crosscheck extra: pip install -e '.[crosscheck]'. docs/crosscheck.md reads what this prints.
"""

from __future__ import annotations

from vqnp.crosscheck import check
from vqnp.crosscheck.vq_pytorch import CONSISTENT, VQPytorch


def main() -> None:
    """A report for each."""
    learnable = {"learnable_codebook": True, "ema_update": False}
    for title, settings in (
        ("With the settings under which it is vqnp's default", CONSISTENT),
        ("As it comes", {}),
        ("With a learnable codebook", learnable),
    ):
        print(f"== {title}\n\n{check(VQPytorch(**settings))}\n")


if __name__ == "__main__":
    main()
