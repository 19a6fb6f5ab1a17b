"""A run as one HTML file that needs no network: what `vqnp report` writes; docs/explorer.md describes it."""

from vqnp.report.page import LIMIT_BYTES, Contents, write_page

__all__ = ["LIMIT_BYTES", "Contents", "write_page"]
