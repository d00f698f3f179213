"""The shell behind any way of typing: a command, or a text for the model to go on with. Knows no terminal."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from babytui import commandline, settings
from babytui.actions import SHELL
from babytui.cli import main as cli
from babytui.cli.output import Output, seconds
from babytui.cli.parser import read_value
from babytui.completion import SAMPLER
from babytui.history import PROMPTS, History
from babytui.visible import visible
from engine.errors import BabyError, TextError, UsageError
from store.workspace import Workspace

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from babytui.library import Baby

WATCHING = ("train", "finetune", "attach", "stop", "resume", "bakeoff", "bakeoff attach", "bakeoff resume")
"""Commands that tell themselves how runs end."""
FOLLOW = ("ends", "all", "off")


class Shell:
    """One session on a workspace.

    sampler: how replies are written, by the names of `completion.SAMPLER`; only what was changed. leaving: whether
    /quit was typed. follow: what is told of runs in the background. aside: what a reply is written in (the session
    keeps the keyboard quiet meanwhile).
    """

    def __init__(self, workspace: Workspace, given: argparse.Namespace | None = None, history: History | None = None):
        self.workspace = workspace
        self.given = given or argparse.Namespace(json=False, quiet=False, no_color=False)
        self.history = history or History(PROMPTS)
        self.sampler: dict[str, Any] = {}
        self.reference = "last"
        self.leaving = False
        self.follow = FOLLOW[0]
        self.aside: Callable[[], AbstractContextManager[None]] = nullcontext
        self.ran: Callable[[str], None] = lambda name: None  # told the name of every command after it
        self._baby: Baby | None = None
        self._reading = threading.Lock()
        self._name = self._prompt = ""
        self._said = ""  # the last reply with its prompt

    # --- a line -------------------------------------------------------------------------------------------------------

    def take(self, line: str) -> int:
        """Does what a line says and gives its exit code; nothing for a blank one. Never raises for a user's mistake."""
        if not line.strip():
            return 0
        if line.startswith("//"):  # a text that begins with a slash
            return self.reply(line[1:])
        if command := command_of(line):
            return self.command(command)
        return self.reply(line)

    def command(self, line: str) -> int:
        """Runs a command, without its slash."""
        name = ""

        def prepare(arguments: argparse.Namespace) -> None:
            nonlocal name
            name = arguments.action.name
            arguments.shell = self
            for option in ("json", "quiet", "no_color"):
                setattr(arguments, option, getattr(arguments, option) or getattr(self.given, option, False))

        code = commandline.run(line, SHELL, self.workspace.root, prepare=prepare)
        self.ran(name)
        return code

    def output(self) -> Output:
        """The streams of what is not a command."""
        return Output(json=self.given.json, quiet=self.given.quiet, color=False if self.given.no_color else None)

    # --- the model ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the present model is called, without reading it; empty when there is none."""
        from babytui import library

        if self._baby is None and not self._name:
            with suppress(BabyError, OSError):
                home, guid = library.locate(self.reference, self.workspace, shipped_if_none=True)
                self._name = home.entry(guid).name or guid[:8]
        return self._baby.name if self._baby is not None else self._name

    @property
    def loaded(self) -> Baby | None:
        """The present model, if it was read already."""
        return self._baby

    def baby(self) -> Baby:
        """The present model, read when it is needed first. From any thread. NotFound, FormatError."""
        from babytui import library

        with self._reading:
            if self._baby is None:
                self._baby = library.load(self.reference, self.workspace)
            return self._baby

    def choose(self, reference: str) -> Baby:
        """Makes another model the present one; when it cannot be read, nothing changes."""
        from babytui import library

        chosen = library.load(reference, self.workspace)
        with self._reading:
            self._baby, self.reference = chosen, reference
        self._prompt = self._said = ""
        return chosen

    def missing(self, text: str) -> list[str]:
        """The symbols of a text that the present model does not know; none while it is not read."""
        baby = self._baby
        return baby.tokenizer.missing(text) if baby is not None and text else []

    # --- replies ------------------------------------------------------------------------------------------------------

    def value(self, name: str) -> Any:
        """How replies are written: a changed value, else the setting's, else the default."""
        argument = SAMPLER[name]
        return self.sampler.get(name, False if argument.kind == "flag" else settings.default_of(argument))

    def change(self, name: str, text: str) -> None:
        """Changes one of `completion.SAMPLER`; "default" undoes it. UsageError."""
        argument = SAMPLER.get(name.replace("-", "_"))
        if argument is None:
            raise UsageError(f"There is no '{visible(name, newlines=False)}' to set; choose one of "
                             f"{', '.join(SAMPLER)}.")
        if text == "default":
            self.sampler.pop(argument.name, None)
        elif argument.kind == "flag":
            if text not in ("on", "off"):
                raise UsageError(f"{argument.name} is on or off, not '{visible(text, newlines=False)}'.")
            self.sampler[argument.name] = text == "on"
        else:
            self.sampler[argument.name] = read_value(argument, text)

    def reply(self, prompt: str, *, skip: bool = False) -> int:
        """Lets the present model go on with a text; the exit code. skip: leave out what it does not know."""
        return cli.attempt(lambda: self._reply(prompt, skip or bool(self.value("skip_unknown"))))

    def again(self) -> int:
        """Another reply to the last prompt: with another seed, unless one is set."""
        if not self._said:
            raise UsageError("Nothing was written yet; type a text first.")
        return self._reply(self._prompt, True)

    def go_on(self) -> int:
        """Lets the last reply go on where it ended."""
        if not self._said:
            raise UsageError("Nothing was written yet; type a text first.")
        return self._reply(self._said, True, going_on=True)

    def _reply(self, prompt: str, skip: bool, *, going_on: bool = False) -> int:
        out, baby = self.output(), self.baby()
        if missing := baby.tokenizer.missing(prompt):
            if not skip:
                few = ", ".join(repr(symbol) for symbol in missing[:8]) + (", …" if len(missing) > 8 else "")
                raise TextError(f"{baby.name} does not know {few}; `/set skip_unknown on` leaves out what it does not "
                                "know.")
            prompt = baby.tokenizer.keep(prompt)
        generation = baby.generate(
            prompt, self.value("tokens"), cache=False if self.value("no_cache") else None,
            **{name: self.value(name) for name in ("temperature", "top_k", "top_p", "min_p", "repetition", "seed")})
        with self.aside():
            interrupted = self._write(generation, out, going_on)
        if not going_on:
            self._prompt = prompt
        self._said = generation.text
        if out.json:
            out.data({"guid": baby.guid, "prompt": generation.prompt, "generation": generation.text,
                      "tokens": generation.count, "seconds": generation.seconds,
                      "prefill_seconds": generation.prefill_seconds,
                      "tokens_per_second": generation.tokens_per_second, "seed": generation.seed,
                      "cache": generation.cache})
        out.say(f"{generation.count} tokens in {seconds(generation.seconds)}, {generation.tokens_per_second:.0f} "
                f"tokens/s, seed {generation.seed}" + (", stopped" if interrupted else ""))
        return 130 if interrupted else 0

    @staticmethod
    def _write(generation: Any, out: Output, going_on: bool) -> bool:
        """Writes the text as it comes (nothing with --json). Whether ctrl+c ended it."""
        interrupted = False
        try:
            if not out.json and not going_on:
                out.write(generation.opening)
            for piece in generation:
                if not out.json:
                    out.write(piece)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            generation.close()
        if not out.json:
            sys.stdout.write("\n")
            sys.stdout.flush()
        return interrupted


def command_of(line: str) -> str:
    """The command that a line is, without its slash; empty for a text. Also a line that was copied from what a command
    said: babytui and a verb."""
    text = line.strip()
    if text.startswith("/") and not line.startswith("//"):
        return text[1:].strip() or "help"
    first, _, rest = text.partition(" ")
    verb = rest.split(" ")[0]
    known = commandline.offered(SHELL)
    if first == "babytui" and any(name.split()[0] == verb for name in known):
        return rest
    return ""
