"""python -m vqnp COMMAND."""

from vqnp.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
