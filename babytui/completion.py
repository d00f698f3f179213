"""What can be typed next at a place of a command line: commands, options, parameters and their values, models, runs,
texts, files. From the registries and the workspace; no user interface, no arrays.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from babytui.actions import CLI, Action, Argument
from babytui.actions.arguments import SAMPLING
from babytui.actions.talking import INFERENCE
from babytui.commandline import ALIASES, ALONE, COMMON, MOST_WORDS, SIGN, Word, offered, words
from babytui.units import amount
from babytui.visible import visible
from engine.config import PARAMETERS, PRESETS, Parameter, plain
from engine.errors import BabyError, ConfigError, UsageError
from store.workspace import Workspace

FRESH = 2.0  # seconds that what was found in the workspace is taken for the present
MOST = 200  # completions
SAMPLER = {argument.name: argument for argument in INFERENCE if argument in SAMPLING
            or argument.name in ("tokens", "no_cache", "skip_unknown")}
"""What the shell's /set changes, by name: how replies are written."""
FREE = ("text", "int", "float", "duration", "flag")
"""Kinds of arguments that a person makes up."""
_PLAIN = re.compile(r"[\w@%+=:,./~-]+")


@dataclass(frozen=True)
class Completion:
    """One thing that can be typed. start: where it begins in the line; what stands between there and the cursor is
    replaced by `text`. display: how a list shows it. meta: a few words about it. Both are safe to show."""

    start: int
    text: str
    display: str
    meta: str = ""


@dataclass(frozen=True)
class Value:
    """A possible value. rank: those of a lower one come first."""

    text: str
    meta: str = ""
    rank: int = 0


@dataclass(frozen=True)
class Place:
    """Where in a line the cursor is. action: None while the command is being typed; before: its words until then.
    given: the words after it. argument: whose value is typed, None for an option or nothing. options: those that may
    be given."""

    word: Word
    action: Action | None = None
    before: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    argument: Argument | None = None
    options: tuple[Argument, ...] = ()


def place(line: str, cursor: int, face: str) -> Place:
    """Where the cursor is in a line that need not be finished."""
    *done, word = words(line[:cursor])
    texts = [one.text for one in done]
    if texts[:1] == ["babytui"]:
        del texts[0]
    known = offered(face)
    if face == CLI and (early := _before_verb(texts, word)) is not None:
        return early
    if texts and texts[0] not in known:
        texts[0] = ALIASES.get(texts[0], texts[0])
    for size in range(MOST_WORDS, 0, -1):
        name = " ".join(texts[:size])
        if len(texts) >= size and name in known:
            return _argument(known[name], texts[size:], word, tuple(texts[:size]))
    return Place(word, None, tuple(texts))


def _before_verb(texts: list[str], word: Word) -> Place | None:
    """The place if it is before a command line's verb; else None, and the options before the verb are gone from
    `texts`."""
    flags = {flag: argument for argument in (*COMMON, *ALONE) for flag in argument.flags}
    while texts and texts[0].startswith("-"):
        option = flags.get(texts.pop(0))  # glued to its value it is none of these
        if option is not None and option.kind != "flag":
            if not texts:
                return Place(word, argument=option)
            del texts[0]
    if texts or not word.text.startswith("-"):
        return None
    flag, glued, _ = word.text.partition("=")
    return Place(word, argument=flags.get(flag)) if glued else Place(word, options=(*COMMON, *ALONE))


def _argument(action: Action, given: list[str], word: Word, before: tuple[str, ...]) -> Place:
    flags = {flag: argument for argument in (*action.arguments, *COMMON) for flag in argument.flags}
    positional = [argument for argument in action.arguments if not argument.flags]
    used: set[str] = set()
    taking: Argument | None = None  # the option whose value comes
    several = False  # it may have more of them
    ended = False
    for text in given:
        option = flags.get(text.partition("=")[0]) if text.startswith("-") and not ended else None
        if taking is not None and not (several and option):
            several = taking.nargs == "+"
            taking = taking if several else None
        elif text == "--" and not ended:
            ended = True
        elif option is not None:
            used.add(option.name)
            several = False
            taking = option if option.kind != "flag" and "=" not in text else None
        elif positional and positional[0].nargs not in ("+", "*"):
            positional.pop(0)
    left = tuple(argument for argument in (*action.arguments, *COMMON)
                 if argument.flags and (argument.repeat or argument.name not in used))
    here = Place(word, action, before, tuple(given), None, () if ended else left)
    if taking is not None and not (several and word.text.startswith("-")):
        return replace(here, argument=taking, options=here.options if several else ())
    if word.text.startswith("-") and not ended:
        flag, glued, _ = word.text.partition("=")
        return replace(here, argument=flags.get(flag), options=()) if glued else here
    return replace(here, argument=positional[0] if positional else None)


class Completer:
    """Completions in one workspace. What the workspace holds is remembered for a moment; with wait False it is never
    looked for while something is typed, but when `look` is called, which may be in a thread. files: whether the
    names of files are completed too."""

    def __init__(self, workspace: Workspace, face: str, *, wait: bool = True, files: bool = True):
        self.workspace, self.face, self._wait, self._files = workspace, face, wait, files
        self._found: dict[str, tuple[float, list[Value]]] = {}

    def complete(self, line: str, cursor: int | None = None) -> list[Completion]:
        """What can be typed at the cursor (default: the line's end), the best first."""
        cursor = len(line) if cursor is None else cursor
        here = place(line, cursor, self.face)
        typed, start = here.word.text, here.word.start
        found: list[Completion] = []
        if not here.given and (here.action or not (here.argument or here.options)):
            found += _made(start, typed, self._commands(here.before))
        if here.argument is not None:
            head = f"{here.argument.flags[-1]}=" if here.argument.flags and typed.startswith("--") else ""
            if head and typed.startswith(head):
                start, typed = start + len(head), typed[len(head):]
            found += self._values(here, here.argument, start, typed)
        if here.options and (not typed or typed.startswith("-")):
            found += _made(start, typed, [Value(option.flags[-1], option.help) for option in here.options])
        return [self._whole(here.word, one) for one in found[:MOST]] if here.word.quoted else found[:MOST]

    @staticmethod
    def _whole(word: Word, one: Completion) -> Completion:
        """A completion that takes the place of a whole word: one with quotes cannot be cut where its text is."""
        return replace(one, start=word.start, text=quoted(word.text[: one.start - word.start] + unquoted(one.text)))

    def takes_files(self, line: str) -> bool:
        """Whether the name of a file can be typed at the line's end."""
        here = place(line, len(line), self.face)
        if here.argument is None:
            return False
        typed = here.word.text
        return _takes_files(here.argument, typed.partition("=")[2] if typed.startswith("--") else typed,
                            bool(self.complete(line)))

    def hint(self, line: str, cursor: int | None = None) -> str:
        """What is meant at the cursor, in a few words: the command, the argument or the parameter."""
        here = place(line, len(line) if cursor is None else cursor, self.face)
        if here.argument is not None:
            if here.argument.kind == "assignment":
                name = here.word.text.removeprefix("--set=").partition("=")[0].strip()
                if parameter := PARAMETERS.get(name):
                    return f"{name}: {parameter.help.rstrip('.')}; {parameter.allowed}, default {parameter.default}"
            name = here.argument.flags[-1] if here.argument.flags else here.argument.metavar or here.argument.name
            return f"{name}: {here.argument.help}{_limits(here.argument)}"
        if here.action is not None:
            return f"{SIGN[self.face]}{here.action.name}: {here.action.help}"
        exact = offered(self.face).get(" ".join((*here.before, here.word.text)))
        return f"{SIGN[self.face]}{exact.name}: {exact.help}" if exact else ""

    # --- what there is ----------------------------------------------------------------------------------------------

    def _commands(self, before: tuple[str, ...]) -> list[Value]:
        known, words_before = offered(self.face), len(before)
        groups: dict[str, list[str]] = {}
        for name in known:
            parts = name.split()
            if tuple(parts[:words_before]) == before and len(parts) > words_before:
                groups.setdefault(parts[words_before], []).append(" ".join(parts[words_before + 1:]))
        return [Value(word, known[name].help if (name := " ".join((*before, word))) in known else ", ".join(rest))
                for word, rest in groups.items()]

    def _values(self, here: Place, argument: Argument, start: int, typed: str) -> list[Completion]:
        if argument.kind == "sampler":
            return _made(start, typed, (Value(name, SAMPLER[name].help) for name in SAMPLER))
        if argument.kind == "sampler_value":
            return _made(start, typed, _sampler_values(here.given[0] if here.given else ""))
        if argument.kind == "setting_value":
            return _made(start, typed, _setting_values(here.given[0] if here.given else ""))
        if argument.kind == "command":
            return _made(start, typed, self._commands(here.given))
        if argument.kind == "assignment":
            return _assignments(start, typed)
        if argument.kind in ("attention", "network"):
            before, comma, last = typed.rpartition(",")
            return _made(start + len(before + comma), last, self.values(argument))
        found = _made(start, typed, self.values(argument))
        if self._files and _takes_files(argument, typed, bool(found)):
            found += _paths(start, typed)
        return found

    def values(self, argument: Argument) -> list[Value]:
        """What an argument can be, as far as there is a list of it."""
        if argument.choices:
            return [Value(choice, "default" if choice == argument.default else "") for choice in argument.choices]
        if argument.kind in FREE:
            default = _default(argument)
            return [Value(str(default), "default")] if default is not None and argument.kind != "text" else []
        if argument.kind not in _KINDS:
            return []
        when, found = self._found.get(argument.kind, (-FRESH, []))
        if self._wait and time.monotonic() - when > FRESH:
            found = self._look(argument.kind)
        return found

    def look(self) -> None:
        """Finds what the workspace holds now, of every kind."""
        for kind in _KINDS:
            self._look(kind)

    def _look(self, kind: str) -> list[Value]:
        found: list[Value] = []
        with suppress(BabyError, OSError):  # a broken workspace has no completions
            found = list(_KINDS[kind](self.workspace))
        self._found[kind] = time.monotonic(), found
        return found


def _takes_files(argument: Argument, typed: str, named: bool) -> bool:
    """Whether an argument may be the name of a file; named: whether something else goes by what is typed."""
    return argument.kind == "path" or (argument.kind == "input" and (not named or typed[:1] in ("/", ".", "~")))


def _default(argument: Argument) -> Any:
    from babytui import settings

    return settings.default_of(argument)


def _limits(argument: Argument) -> str:
    if argument.low is not None and argument.high is not None and argument.high < 1e9:
        return f" (from {plain(argument.low)} to {plain(argument.high)})"
    return f" (at least {plain(argument.low)})" if argument.low is not None else ""


def _made(start: int, typed: str, values: Iterable[Value]) -> list[Completion]:
    """The values that fit what was typed: first those that begin with it, then those that hold it."""
    wanted = typed.casefold()
    found = []
    for number, value in enumerate(values):
        text = value.text.casefold()
        at = text.find(wanted)
        if at >= 0 and value.text.isprintable():
            apart = at > 0 and text[at - 1] not in "-_ ./"
            found.append(((at > 0) + apart, value.rank, number, Completion(
                start, quoted(value.text), visible(value.text, newlines=False), visible(value.meta, newlines=False))))
    return [completion for *_, completion in sorted(found, key=lambda item: item[:3])]


def quoted(text: str) -> str:
    """A word as `commandline.words` reads it back."""
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\"'\"'") + "'"


def unquoted(text: str) -> str:
    """What `quoted` was given."""
    return "".join(word.text for word in words(text))


# --- parameters -----------------------------------------------------------------------------------------------------


def _assignments(start: int, typed: str) -> list[Completion]:
    name, sign, value = typed.partition("=")
    if not sign:
        return [Completion(one.start, one.text + "=", one.display + "=", one.meta) for one in _made(
            start, typed, (Value(parameter.name, parameter.help) for parameter in PARAMETERS.values()))]
    parameter = PARAMETERS.get(name.strip())
    return _made(start + len(name) + 1, value, _parameter_values(parameter)) if parameter else []


def _parameter_values(parameter: Parameter) -> list[Value]:
    if parameter.kind == "bool":
        texts = ["true", "false"]
    elif parameter.kind == "choice":
        texts = list(parameter.choices)
    else:
        numbers = [parameter.default]
        if parameter.step == "pow2" and isinstance(parameter.default, int):
            numbers += [parameter.default * 2, parameter.default * 4, parameter.default // 2]
        texts = [*(str(number) for number in numbers if _fits(parameter, number)), *parameter.words]
    default = str(parameter.default).lower() if isinstance(parameter.default, bool) else str(parameter.default)
    return [Value(text, "default" if text == default else "") for text in dict.fromkeys(texts)]


def _fits(parameter: Parameter, value: Any) -> bool:
    with suppress(ConfigError):
        parameter.coerce(value)
        return True
    return False


def check_assignment(text: str) -> None:
    """UsageError or ConfigError for what --set would refuse: a form, a parameter or a value that there is not."""
    from engine.config import Config

    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise UsageError(f"--set takes PARAMETER=VALUE, such as n_layers=2, not '{text}'.")
    Config.read({name.strip(): value.strip()})


def _sampler_values(name: str) -> list[Value]:
    argument = SAMPLER.get(name)
    if argument is None:
        return []
    if argument.kind == "flag":
        return [Value("on"), Value("off", "default")]
    return [Value("default", "any" if argument.default is None else str(argument.default))]


def _settings(_: Workspace) -> Iterator[Value]:
    from babytui import settings

    for name, setting in settings.SETTINGS.items():
        if name != settings.KEYS:
            yield Value(name, setting.help)
    for id_, action in settings.key_actions().items():
        yield Value(f"{settings.KEYS}.{id_}", action.help, 1)


def _setting_values(name: str) -> list[Value]:
    from babytui import settings

    if name.startswith(settings.KEYS + "."):
        keys = settings.default_keys().get(name.removeprefix(settings.KEYS + "."), "")
        return [Value(keys, "default")] if keys else []
    setting = settings.SETTINGS.get(name)
    if setting is None:
        return []
    default = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
    texts = {"choice": list(setting.choices), "bool": ["true", "false"]}.get(setting.kind, [default])
    return [Value(text, "default" if text == default else "") for text in texts if text]


# --- the workspace --------------------------------------------------------------------------------------------------


def _models(workspace: Workspace) -> Iterator[Value]:
    entries = [entry for entry in workspace.entries() if entry.has_model]
    entries.sort(key=lambda entry: entry.created or 0.0, reverse=True)
    names = [entry.name for entry in workspace.entries()]
    for entry in entries:
        config = entry.config
        about = [f"{config.get('c_attention', '?')}+{config.get('c_network', '?')}"]
        if entry.parameters is not None:
            about.append(f"{amount(entry.parameters)} parameters")
        if entry.validation_loss is not None:
            about.append(f"val {entry.validation_loss:.3f}")
        if entry.dataset:
            about.append(entry.dataset[:24])
        yield from _named(entry.guid, entry.name, names, " · ".join(about))
    yield Value("last", "the newest", 2)
    yield Value("baby", "the one that ships", 2)


def _named(guid: str, name: str, names: list[str], about: str) -> Iterator[Value]:
    """By its name where that is its alone and can be typed, and by the start of its GUID."""
    from store.names import short

    clear = bool(name) and names.count(name) == 1 and name.isprintable() and name not in ("last", "baby")
    if clear:
        yield Value(name, about)
    yield Value(short(guid), f"{name} · {about}" if name else about, 1 if clear else 0)


def _runs(workspace: Workspace) -> Iterator[Value]:
    from babytui import runs

    found = runs.all_runs(workspace)[:MOST]
    names = [run.name for run in found]
    for run, name in zip(found, names, strict=True):
        yield from _named(run.guid, name, names, f"{run.status()} · {run.plan.get('dataset', '')}")
    yield Value("last", "the newest that is alive, else the newest", 2)


def _trashed(workspace: Workspace) -> Iterator[Value]:
    from store import trash

    found = [item for item in trash.items(workspace.root) if item.guid]
    names = [item.name for item in found]
    for item in found:
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.deleted))
        yield from _named(item.guid, item.name, names, f"{item.kind}, deleted {day}")
    yield Value("last", "what was deleted last", 2)


def _bakeoffs(workspace: Workspace) -> Iterator[Value]:
    from babytui import bakeoff

    found = bakeoff.all_bakeoffs(workspace)[:MOST]
    names = [one.name for one in found]
    for one, name in zip(found, names, strict=True):
        yield from _named(one.guid, name, names, one.status())
    yield Value("last", "the newest at work, else the newest", 2)


def _inputs(workspace: Workspace) -> Iterator[Value]:
    from babytui import texts

    for text in texts.available(workspace):
        if text.kind != "web":
            yield Value(text.name, f"{'yours' if text.kind == 'own' else 'ships'} · {amount(text.bytes or 0)} bytes")


def _known_texts(workspace: Workspace) -> Iterator[Value]:
    from babytui import texts

    for text in texts.available(workspace):
        if text.kind == "web":
            yield Value(text.name, text.title)


def _presets(workspace: Workspace) -> Iterator[Value]:
    for name in workspace.presets():
        yield Value(name, "yours")
    for name, values in PRESETS.items():
        about = [f"{word} {values[key]}" for key, word in (("n_ctx", "context"), ("n_emb", "width"),
                                                            ("n_layers", "layers")) if key in values]
        yield Value(name, ", ".join(about))


def _variants(kind: str) -> Callable[[Workspace], Iterator[Value]]:
    def names(_: Workspace) -> Iterator[Value]:
        from engine import registry

        for name in getattr(registry, kind).names():
            yield Value(name)

    return names


def _columns(_: Workspace) -> Iterator[Value]:
    from babytui.bakeoff_table import COLUMNS

    yield Value("architecture", "by name")
    for column in COLUMNS:
        yield Value(column.key, column.help)


def _nothing(_: Workspace) -> Iterator[Value]:
    """For what depends on what is typed."""
    return iter(())


_KINDS: dict[str, Callable[[Workspace], Iterator[Value]]] = {
    "model": _models, "run": _runs, "trashed": _trashed, "bakeoff": _bakeoffs, "input": _inputs,
    "known_text": _known_texts, "preset": _presets, "attention": _variants("attention"),
    "network": _variants("network"), "column": _columns, "setting": _settings,
    **dict.fromkeys(("path", "assignment", "command", "sampler", "sampler_value", "setting_value"), _nothing),
}
KINDS = (*_KINDS, *FREE)
"""The kinds of arguments that are known here."""


# --- files ----------------------------------------------------------------------------------------------------------


def _paths(start: int, typed: str) -> list[Completion]:
    """Files and folders that go on from what is typed; hidden ones only after a dot."""
    folder, _, name = typed.rpartition("/")
    written = typed[: len(typed) - len(name)]
    place_ = Path(os.path.expanduser(folder + "/")) if written else Path()
    found = []
    with suppress(OSError, ValueError, RuntimeError), os.scandir(place_) as entries:
        for entry in entries:
            if not entry.name.startswith(name) or not entry.name.isprintable() or (
                    entry.name.startswith(".") and not name.startswith(".")):
                continue
            with suppress(OSError):
                is_folder = entry.is_dir()
                meta = "folder" if is_folder else f"{amount(entry.stat().st_size)} bytes"
                text = entry.name + ("/" if is_folder else "")
                found.append((not is_folder, entry.name, Completion(start, quoted(written + text), text, meta)))
            if len(found) > 10 * MOST:
                break
    return [completion for *_, completion in sorted(found, key=lambda item: item[:2])][:MOST]
