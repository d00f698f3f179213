"""`babytui` and `python -m babytui`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from babytui.blas import one_thread
from babytui.streams import guarded, in_place


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (default: this process's arguments) and return its exit code."""
    if argv is None:
        in_place()
    one_thread()
    # numbers that go wrong in a model are told in words
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"engine\.")
    with guarded():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["worker"]:  # started by babytui.runs, never by a person
        from babytui import worker

        return worker.main(arguments[1:])
    if arguments[:1] == ["watcher"]:  # started by babytui.ranks
        from babytui import ranks

        return ranks.watcher(arguments[1:])
    if arguments[:1] == ["conduct"]:  # started by babytui.bakeoff
        from babytui import conductor

        return conductor.main(arguments[1:])
    if arguments[:1] == ["complete"]:  # asked by the scripts of `babytui completion`
        from babytui.cli import completion

        return completion.complete(arguments[1:])
    from babytui.cli import main as cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
