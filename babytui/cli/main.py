"""One command from its arguments to its exit code: 0, 1 failure, 2 usage, 130 interrupted."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from babytui import settings
from babytui.cli import parser
from babytui.cli.output import Output
from babytui.launchers import VERBS, launched
from babytui.visible import visible
from engine.errors import BabyError

ALTERNATIVES = ("The playground needs a terminal, and this is not one; use for instance `babytui train`, "
                "`babytui inference baby --prompt 'Once upon a time'`, `babytui list` or `babytui --help`.")


def main(argv: list[str]) -> int:
    """Run one command and return its exit code. Never raises for a user's mistake."""
    return attempt(lambda: _run(argv))


def attempt(do: Callable[[], int]) -> int:
    """The exit code of `do`; an error is told in a sentence on standard error, and makes its own."""
    try:
        code = do()
        sys.stdout.flush()
        return code
    except BabyError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("Interrupted.")
        return 130
    except BrokenPipeError:  # the reader had enough
        _print_no_more()
        return 0
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _say(f"{error.strerror or error}{where}.")
        try:
            sys.stdout.flush()
        except OSError:  # it was that; the interpreter need not say it again at its end
            _print_no_more()
        return 1
    except Exception as error:
        import traceback

        # not left to the interpreter, which may write colours, and the error's own text as it is
        sys.stderr.write(traceback.format_exc())
        _say(f"Something that should not happen did ({type(error).__name__}: {error}); the lines above say where.")
        return 1


def _print_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(sentence: str) -> None:
    try:
        print(f"babytui: {visible(sentence, newlines=False)}", file=sys.stderr)
    except OSError:
        pass


def _run(argv: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # models speak any script, whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        arguments = parser.parse(argv)
    except SystemExit as leave:  # --help and --version
        return int(leave.code or 0)
    if arguments.action is None:
        return playground(arguments)
    return perform(arguments)


def perform(arguments: argparse.Namespace) -> int:
    """Run a parsed action; its output goes to what standard output and standard error are now."""
    if not arguments.quiet:
        for problem in settings.current().problems:
            _say(problem)
    arguments.out = Output(json=arguments.json, quiet=arguments.quiet, color=False if arguments.no_color else None)
    function: Callable[[argparse.Namespace], int] = arguments.action.function()
    if arguments.action.name in VERBS and launched():
        from babytui import ranks

        return ranks.perform(lambda: function(arguments))
    return function(arguments)


def playground(arguments: object) -> int:
    """Open the app, or say what to do where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        _say(ALTERNATIVES)
        return 2
    from babytui import workspace_choice
    from babytui.tui import app

    workspace = workspace_choice.choose(getattr(arguments, "workspace", None))
    if getattr(arguments, "no_color", False):
        settings.give("theme", "mono")
    if getattr(arguments, "no_mouse", False):
        settings.give("mouse", False)
    return int(app.main(workspace, mouse=settings.get("mouse")) or 0)
