"""The command line: one file a command."""

from vqnp.cli.main import main

__all__ = ["main"]
