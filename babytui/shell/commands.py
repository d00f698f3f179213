"""The shell's own commands: model, set, follow, history, help, regenerate, continue, quit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from babytui import commandline
from babytui.actions import SHELL
from babytui.cli import parser
from babytui.cli.output import Output, table
from babytui.commandline import SIGN, offered
from babytui.completion import SAMPLER
from engine.errors import UsageError

if TYPE_CHECKING:
    from babytui.shell.shell import Shell

MOST = 30  # entries of the history
TYPING = (("text", "the model goes on with it"), ("//text", "the same, for a text that begins with /"),
          ("Tab, ↓ ↑", "through what can be typed"), ("alt+enter, \\", "a new line"), ("→", "take what is suggested"),
          ("ctrl+r", "search what was typed"), ("ctrl+c", "stop a reply, drop a line"), ("ctrl+d", "leave; runs go on"))


def help(arguments: Any) -> int:
    """List the commands, or say what one takes."""
    if arguments.command:
        face = arguments.face
        action, rest = commandline.match(arguments.command, face)
        if rest:
            raise UsageError(f"There is no command '{SIGN[face]}{' '.join(arguments.command)}'; "
                             f"see {SIGN[face]}help {action.name}.")
        for line in parser.single(action, SIGN[face] + action.name).format_help().rstrip().split("\n"):
            arguments.out.print(line)
        return 0
    rows = [(SIGN[SHELL] + name, action.help) for name, action in offered(SHELL).items()]
    width = max(len(name) for name, _ in (*rows, *TYPING))
    for name, what in (*TYPING, ("", ""), *rows):
        arguments.out.print(f"{name:{width}}  {what}".rstrip())
    arguments.out.say("/help COMMAND tells what it takes.")
    return 0


def quit(arguments: Any) -> int:
    """Leave the shell; runs go on."""
    arguments.shell.leaving = True
    return 0


def choose(arguments: Any) -> int:
    """Choose the model that goes on with what is typed, or tell which it is."""
    shell: Shell = arguments.shell
    out: Output = arguments.out
    baby = shell.choose(arguments.guid) if arguments.guid else shell.baby()
    facts = {"guid": baby.guid, "name": baby.name, "parameters": baby.model.n_parameters,
             "symbols": baby.model.vocab_size, "n_ctx": baby.config.n_ctx}
    if arguments.json:
        out.data(facts)
    else:
        out.print(f"{baby.name}: {facts['parameters']:,} parameters, {facts['symbols']} symbols, context "
                  f"{facts['n_ctx']}")
    for remark in baby.remarks:
        out.say(remark)
    return 0


def change(arguments: Any) -> int:
    """Show or change how replies are written."""
    shell: Shell = arguments.shell
    out: Output = arguments.out
    name = (arguments.name or "").replace("-", "_")
    if arguments.value is not None:
        shell.change(name, arguments.value)
    elif name and name not in SAMPLER:
        shell.change(name, "default")  # says what there is
    shown = [name] if name else list(SAMPLER)
    if arguments.json:
        out.data({one: shell.value(one) for one in shown})
    else:
        for line in table([("NAME", "VALUE", "WHAT"), *((one, _said(shell.value(one)), SAMPLER[one].help)
                                                        for one in shown)])[bool(name):]:
            out.print(line)
    return 0


def _said(value: Any) -> str:
    if value is None:
        return "any"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def follow(arguments: Any) -> int:
    """What is told of runs while something is typed."""
    if arguments.how:
        arguments.shell.follow = arguments.how
    arguments.out.print(arguments.shell.follow)
    return 0


def history(arguments: Any) -> int:
    """What was typed before, the latest last."""
    kept = arguments.shell.history
    if arguments.forget:
        kept.forget()
        arguments.out.say("All of it is deleted.")
        return 0
    found = list(reversed(kept.search(arguments.word or "")[:MOST]))
    if arguments.json:
        arguments.out.data(found)
    else:
        for text in found:
            arguments.out.print(text)
    return 0


def regenerate(arguments: Any) -> int:
    """Another reply to the last prompt."""
    return int(arguments.shell.again())


def go_on(arguments: Any) -> int:
    """Let the last reply go on."""
    return int(arguments.shell.go_on())
