"""babytui repl: the session that suits the terminal, or plain lines where there is none."""

from __future__ import annotations

import os
import sys
from typing import Any

from babytui import workspace_choice
from babytui.shell.shell import Shell


def run(arguments: Any) -> int:
    """Read lines until the end. The exit code: 0; off a terminal that of the first line that failed."""
    if arguments.no_color:
        os.environ["NO_COLOR"] = "1"
    shell = Shell(workspace_choice.choose(arguments.workspace), arguments)
    if arguments.plain or os.environ.get("TERM", "dumb") in ("dumb", "") or not (
            sys.stdin.isatty() and sys.stdout.isatty()):
        return plain(shell)
    from babytui.shell.session import Session

    return Session(shell).run()


def plain(shell: Shell) -> int:
    """Lines from standard input, whatever it is: no editing, no sequences, a prompt only on a terminal."""
    stdin: Any = sys.stdin
    asked = stdin.isatty()
    if hasattr(stdin, "reconfigure"):
        stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    worst = 0
    while not shell.leaving:
        try:
            line = _line(f"{shell.name}> " if asked else "", asked)
        except KeyboardInterrupt:
            if not asked:
                return 130
            print()
            continue
        if line is None:
            if asked:
                print()
            break
        if asked:
            shell.history.add(line)
        code = shell.take(line)
        worst = worst or code
        if code == 130 and not asked:  # ctrl+c ends all of a script, as in other shells
            break
    return 0 if asked else worst


def _line(prompt: str, asked: bool) -> str | None:
    """The next line, and those that follow one that ends in a backslash; None at the end."""
    found: list[str] = []
    while True:
        if asked:
            sys.stdout.write("... " if found else prompt)
            sys.stdout.flush()
        text = sys.stdin.readline()
        if not text:
            return "\n".join(found) if found else None
        text = text.removesuffix("\n").removesuffix("\r")
        if not text.endswith("\\"):
            return "\n".join([*found, text])
        found.append(text[:-1])
