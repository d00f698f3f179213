"""A command line in a face of ours: what can be typed next, whether it is right, and running it.

The shell (`/train --preset 3m`) and the app (`:train --preset 3m`) read their lines here, without the leading sign. The
actions are those of the registry; what runs is what `babytui` runs. No user interface, and light to import.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from babytui import actions
from babytui.actions import APP, CLI, SHELL, Action, Argument
from engine.errors import BabyError, UsageError

SIGN = {CLI: "", SHELL: "/", APP: ""}  # in the app a command is typed after : or in the prompt after /
ALIASES = {"chat": "model", "exit": "quit", "q": "quit", "?": "help", "h": "help"}
MOST_WORDS = 3  # of a command's name
COMMON = (
    Argument("workspace", ("--workspace",), "path", "another folder of models and runs", metavar="PATH"),
    Argument("json", ("--json",), "flag", "print data as JSON"),
    Argument("quiet", ("-q", "--quiet"), "flag", "no narration"),
    Argument("no_color", ("--no-color",), "flag", "no colour"),
    Argument("help", ("-h", "--help"), "flag", "what it does and takes"),
)
"""What every command takes beside its own arguments."""
ALONE = (
    Argument("version", ("--version",), "flag", "print the version"),
    Argument("no_mouse", ("--no-mouse",), "flag", "the playground leaves the mouse to the terminal"),
)
"""What `babytui` takes without a command."""


# --- words --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Word:
    """One word of a line. text: without its quotes. start, end: where it stands. quote: the one that is still open,
    or a backslash at the end of the line. quoted: whether it has quotes or backslashes."""

    text: str
    start: int
    end: int
    quote: str = ""
    quoted: bool = False


def words(line: str) -> list[Word]:
    """The words of a line that may not be finished, as a POSIX shell splits it (quotes and backslashes, nothing else).

    A line that ends in white space has one more, empty word at its end: the one that would be typed next.
    """
    found: list[Word] = []
    text, start, quote = "", -1, ""
    index = 0
    while index < len(line):
        sign = line[index]
        if quote:
            if sign == quote:
                quote = ""
            elif sign == "\\" and quote == '"' and line[index + 1:index + 2] in ('"', "\\"):
                index += 1
                text += line[index]
            else:
                text += sign
        elif sign.isspace():
            if start >= 0:
                found.append(Word(text, start, index, quoted=text != line[start:index]))
            text, start = "", -1
        else:
            if start < 0:
                start = index
            if sign in "'\"":
                quote = sign
            elif sign == "\\":
                index += 1
                if index == len(line):
                    quote = sign
                text += line[index:index + 1]
            else:
                text += sign
        index += 1
    start = start if start >= 0 else len(line)
    found.append(Word(text, start, len(line), quote, text != line[start:]))
    return found


def split(line: str) -> list[str]:
    """The words of a whole line. UsageError for a quotation that is not closed."""
    found = words(line)
    if found[-1].quote == "\\":
        raise UsageError("The line ends in a backslash that nothing follows.")
    if found[-1].quote:
        raise UsageError(f"The quotation that begins at {line[found[-1].start:found[-1].start + 40]} is not closed.")
    if found[-1].start == len(line):
        found.pop()
    return [word.text for word in found]


# --- the action ---------------------------------------------------------------------------------------------------


def offered(face: str) -> dict[str, Action]:
    """The actions of a face by name."""
    return {action.name: action for action in actions.offered(face)}


def match(given: Sequence[str], face: str) -> tuple[Action, list[str]]:
    """The action that the first words name, as many as can be, and the words after it. UsageError names the nearest."""
    known = offered(face)
    given = list(given)
    if given[:1] == ["babytui"]:  # copied from what a command said
        del given[0]
    if given and given[0] not in known and ALIASES.get(given[0]) in known:
        given[0] = ALIASES[given[0]]
    for count in range(min(MOST_WORDS, len(given)), 1, -1):
        if (name := " ".join(given[:count])) in known:
            return known[name], given[count:]
    if not given:
        raise UsageError(f"There is no command; {SIGN[face]}help lists all.")
    alone = known.get(given[0])
    group = [name for name in known if name.startswith(given[0] + " ")]
    if alone and not (group and len(given) > 1 and _nothing_but_options(alone) and not given[1].startswith("-")):
        return alone, given[1:]
    if group and len(given) < 2:
        seconds = dict.fromkeys(name.split()[1] for name in group)
        raise UsageError(f"{SIGN[face]}{given[0]} needs one more word: {', '.join(seconds)}.")
    wrong = " ".join(given[:2]) if group else given[0]
    firsts = list(dict.fromkeys(name.split()[0] for name in known))
    near = difflib.get_close_matches(wrong, group or [*known, *firsts], n=1, cutoff=0.5)
    hint = f"did you mean {SIGN[face]}{near[0]}?" if near else (
        f"choose one of {', '.join(SIGN[face] + name for name in group)}." if group
        else f"{SIGN[face]}help lists all." if "help" in known else "the palette lists all.")
    raise UsageError(f"There is no command '{SIGN[face]}{wrong}'; {hint}")


def _nothing_but_options(action: Action) -> bool:
    return all(argument.flags for argument in action.arguments)


def parse(line: str | Sequence[str], face: str, workspace: Any = None) -> argparse.Namespace:
    """The parsed arguments of a line, as the command line's parser makes them, with `action`. UsageError when they are
    wrong; SystemExit after --help was printed. workspace: its folder, unless the line names another."""
    from babytui.cli import parser

    action, rest = match(split(line) if isinstance(line, str) else line, face)
    arguments = parser.parse_one(action, rest, SIGN[face] + action.name, f"{SIGN[face]}help {action.name}")
    arguments.face = face
    if arguments.workspace is None and workspace is not None:
        arguments.workspace = str(workspace)
    return arguments


def problem(line: str, face: str) -> str:
    """What is wrong with a whole line, in a sentence; empty when it can be run."""
    from babytui.completion import check_assignment

    try:
        given = split(line)
        action, rest = match(given, face)
        if any(word in ("-h", "--help") for word in rest):
            return ""
        arguments = parse(given, face)
        for argument in action.arguments:
            if argument.kind == "assignment":
                for text in getattr(arguments, argument.name) or []:
                    check_assignment(text)
    except BabyError as error:
        return str(error)
    return ""


def run(line: str | Sequence[str], face: str, workspace: Any = None, *,
        prepare: Callable[[argparse.Namespace], None] | None = None) -> int:
    """Run a line in this process, as `babytui` would run it; its exit code. Errors are told in one sentence on standard
    error. prepare: may change the parsed arguments (a face's own defaults), or refuse them with an error."""
    from babytui.cli import main

    def do() -> int:
        try:
            arguments = parse(line, face, workspace)
        except SystemExit as leave:  # --help
            return int(leave.code or 0)
        if not arguments.action.run:
            raise UsageError(f"{SIGN[face]}{arguments.action.name} needs the app; `babytui` opens it.")
        if prepare is not None:
            prepare(arguments)
        return main.perform(arguments)

    return main.attempt(do)
