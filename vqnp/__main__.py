"""python -m vqnp COMMAND, and the command vqnp: an interruption ends it quietly, even while it starts."""

import signal
import sys
from types import FrameType


def main() -> int:
    """vqnp.cli.main, whose imports take most of a short command's time.

    Raised while a C extension is imported, KeyboardInterrupt comes out as an ImportError of the extension's
    own: so whatever ends the command after an interruption is taken for the interruption.
    """
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job may ignore it
        signal.signal(signal.SIGINT, interrupt)
    try:
        from vqnp.cli import main

        return main()
    except (Exception, KeyboardInterrupt):
        if not interrupted:
            raise
        print("vqnp: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
