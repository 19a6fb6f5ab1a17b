"""python -m vqnp COMMAND, and the command vqnp: an interruption ends it quietly, even while it starts."""

import sys


def main() -> int:
    """vqnp.cli.main, whose imports take most of a short command's time."""
    try:
        from vqnp.cli import main

        return main()
    except KeyboardInterrupt:
        print("vqnp: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
