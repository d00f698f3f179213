"""`babytui` and `python -m babytui`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from babytui.blas import one_thread


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (default: this process's arguments) and return its exit code."""
    one_thread()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["worker"]:  # started by babytui.runs, never by a person
        from babytui import worker

        return worker.main(arguments[1:])
    if arguments[:1] == ["conduct"]:  # started by babytui.bakeoff
        from babytui import conductor

        return conductor.main(arguments[1:])
    from babytui.cli import main as cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
