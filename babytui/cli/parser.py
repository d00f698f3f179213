"""argparse, generated from the registry of actions."""

from __future__ import annotations

import argparse
import difflib
import math
import re
import shlex
import sys
from typing import Any, NoReturn

from babytui import actions, settings
from engine.errors import UsageError

WORKSPACE_HELP = ("folder of models and runs, or 'same' for the current folder; without it $BABYTUI_WORKSPACE, else "
                  "the current folder if it holds settings/ or models/, else the setting workspace, else ~/babytui")
GROUPS = {"inputs": "the texts to learn from: list, add, fetch"}
DEFAULTS: dict[str, Any] = {"workspace": None, "json": False, "quiet": False, "no_color": False}
EPILOG = """A GUID may be given as the start of one, a name, or 'last'; 'baby' is the model that ships.
Exit codes: 0 done, 1 failure, 2 wrong usage, 130 interrupted."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UsageErrors of one sentence."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.more = f"{self.prog} --help"  # what says more
        self.color = False  # Python 3.14's help would be coloured

    def error(self, message: str) -> NoReturn:
        raise UsageError(_sentence(message, self.prog, self.more))

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)  # argparse's own passes over an error of the stream

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            names = list(action.choices)
            near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(names)}."
            raise UsageError(f"There is no command '{value}'; {hint}")
        super()._check_value(action, value)


def _sentence(message: str, prog: str, more: str) -> str:
    if found := re.match(r"the following arguments are required: (.+)", message):
        return f"{prog} needs {found[1]}; see {more}."
    message = message.removeprefix("argument ").rstrip(".")
    return f"{prog}: {message}."


def _unrecognized(word: str, action: actions.Action | None, prog: str, more: str) -> UsageError:
    """The error for a word that fits nowhere, with the nearest option of the verb."""
    options = ["--workspace", "--json", "--quiet", "--no-color"]
    if action:
        options += [flag for argument in action.arguments for flag in argument.flags]
    else:
        options += ["--version", "--no-mouse", "--help"]
    if word.startswith("-"):
        near = difflib.get_close_matches(word.split("=")[0], options, n=1)
    else:  # its value alone
        kind = "assignment" if "=" in word else "input"
        near = [f"{argument.flags[0]} {shlex.quote(word)}" for argument in (action.arguments if action else ())
                if argument.flags and argument.kind == kind]
    hint = f"did you mean {near[0]}?" if near else f"see {more}."
    return UsageError(f"{prog} does not know '{word}'; {hint}")


def duration(text: str) -> float:
    """Seconds from 90, 60s, 5m, 1h, 1h30m or 7d."""
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"(?:{number}d)?(?:{number}h)?(?:{number}m)?(?:{number}s?)?", text.strip().lower())
    parts = found.groups() if found else ()
    seconds = sum(float(part or 0) * unit for part, unit in zip(parts, (86400, 3600, 60, 1), strict=False))
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time such as 60s, 5m or 1h")
    return seconds


def _number(argument: actions.Argument) -> Any:
    whole = argument.kind == "int"

    def read(text: str) -> int | float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:  # int() also refuses more than 4300 digits
            value = math.nan
        bad = isinstance(value, float) and not math.isfinite(value)
        if bad or value < _or(argument.low, -math.inf) or value > _or(argument.high, math.inf):
            low, high = argument.low, argument.high
            noun = "a whole number" if whole else "a number"
            span = f" from {low:g} to {high:g}" if low is not None and high is not None and high < 1e9 else (
                f" of at least {low:g}" if low is not None else "")
            raise argparse.ArgumentTypeError(f"'{text}' is not {noun}{span}")
        return value

    return read


def read_value(argument: actions.Argument, text: str) -> int | float:
    """The number that a text means for an int or float argument. UsageError says what is allowed."""
    try:
        value: int | float = _number(argument)(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{argument.name}: {error}.") from None
    return value


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _add(parser: argparse.ArgumentParser, argument: actions.Argument) -> None:
    names = argument.flags or (argument.name,)
    options: dict[str, Any] = {"help": argument.help}
    if argument.flags:
        options["dest"] = argument.name
    if argument.kind == "flag":
        parser.add_argument(*names, action="store_true", **options)
        return
    options["metavar"] = argument.metavar
    options["default"] = None if argument.setting else argument.default
    if argument.kind in ("int", "float"):
        options["type"] = _number(argument)
    elif argument.kind == "duration":
        options["type"] = duration
    if argument.choices:
        options["choices"] = argument.choices
    if argument.nargs:
        options["nargs"] = argument.nargs
    if argument.repeat:
        options["action"], options["default"] = "extend" if argument.nargs else "append", None
    if argument.flags and argument.default not in (None, ""):
        setting = f", unless {argument.setting} is set" if argument.setting else ""
        options["help"] += f" (default {argument.default}{setting})"
    parser.add_argument(*names, **options)


def _common(parser: argparse.ArgumentParser, *, version: bool = False) -> None:
    """The options that are accepted before and after the verb."""
    group = parser.add_argument_group("everywhere")
    hide = argparse.SUPPRESS  # absent unless given, so that the verb's parser does not undo what stood before it
    group.add_argument("--workspace", metavar="PATH", default=hide, help=WORKSPACE_HELP)
    group.add_argument("--json", action="store_true", default=hide, help="print data as JSON")
    group.add_argument("-q", "--quiet", action="store_true", default=hide, help="no narration on standard error")
    group.add_argument("--no-color", action="store_true", default=hide, help="no colour (also $NO_COLOR)")
    if version:
        from babytui import __version__

        group.add_argument("--version", action="version", version=f"babytui {__version__}")


def build() -> Parser:
    """The whole command line."""
    parser = Parser(prog="babytui", description="Raise a tiny GPT in the terminal. Without a command: the playground.",
                    epilog=EPILOG, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    _common(parser, version=True)
    parser.add_argument("--no-mouse", action="store_true", help="the playground leaves the mouse to the terminal")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands", parser_class=Parser)
    groups: dict[str, Any] = {}
    alone: dict[str, Any] = {}
    for action in actions.offered(actions.CLI):
        words = action.name.split()
        where = verbs
        if len(words) == 2:
            if words[0] not in groups:
                about = GROUPS.get(words[0], "")
                group = alone.get(words[0])  # a verb that does something without a second word
                if group is None:
                    group = verbs.add_parser(words[0], help=about, description=about, allow_abbrev=False)
                    _common(group)
                needed = words[0] not in alone
                groups[words[0]] = group.add_subparsers(dest="sub", metavar="COMMAND" if needed else "[COMMAND]",
                                                        title="commands", parser_class=Parser, required=needed)
            where = groups[words[0]]
        sub = _fill(where.add_parser(words[-1], help=action.help, allow_abbrev=False), action)
        if where is verbs:
            alone[words[0]] = sub
    return parser


def _fill(parser: Parser, action: actions.Action) -> Parser:
    """The parser of an action's arguments."""
    parser.description, parser.epilog = action.help[:1].upper() + action.help[1:] + ".", action.details or None
    for argument in action.arguments:
        _add(parser, argument)
    _common(parser)
    parser.set_defaults(action=action)
    return parser


def single(action: actions.Action, prog: str) -> Parser:
    """The parser of one action alone, called `prog` ("/train") in its help and its errors."""
    return _fill(Parser(prog=prog, allow_abbrev=False), action)


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments, with `action` (None: no verb was given) and every common option. UsageError if they are wrong."""
    arguments, rest = _parsed(build(), argv)
    if rest:
        action = getattr(arguments, "action", None)
        prog = f"babytui {action.name}" if action else "babytui"
        raise _unrecognized(rest[0], action, prog, f"{prog} --help")
    return _complete(arguments)


def parse_one(action: actions.Action, words: list[str], prog: str, more: str = "") -> argparse.Namespace:
    """As `parse`, for what follows the name of an action. SystemExit after --help was printed. more: what to type for
    its help, in errors; without it `prog` --help."""
    parser = single(action, prog)
    parser.more = more or parser.more
    arguments, rest = _parsed(parser, words)
    if rest:
        raise _unrecognized(rest[0], action, prog, parser.more)
    return _complete(arguments)


def _parsed(parser: Parser, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    try:
        return parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from None


def _complete(arguments: argparse.Namespace) -> argparse.Namespace:
    found = {**DEFAULTS, "action": None, **vars(arguments)}
    for argument in found["action"].arguments if found["action"] else ():
        if argument.setting and found[argument.name] is None:
            found[argument.name] = settings.default_of(argument)
    return argparse.Namespace(**found)
