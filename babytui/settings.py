"""What a person has chosen for good: theme, keys, chart, sampler. Read from one TOML file; imports nothing heavy.

`SETTINGS` is the registry: the file, the environment variables, `babytui settings` and the app's page are made from it.
The command line comes before the environment, the environment before the file, the file before the default. A file
that is broken never stops anything: what can be read applies, and `problems` says what cannot, with file, line and key.
Writing is in babytui.settings_file.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from babytui import actions
from engine.errors import BabyError, NotFound, UsageError, shown

FILE_VARIABLE = "BABYTUI_SETTINGS"
MAX_BYTES = 1 << 20
KEYS = "keys"
DEFAULT, FILE, ENVIRONMENT, COMMAND = "default", "file", "environment", "command line"
THEMES = ("auto", "dark", "light", "high-contrast", "high-contrast-light", "ansi", "mono")
_TRUTH = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False, "on": True, "off": False}
_KEY_NAMES = {"solidus": "slash", "reverse_solidus": "backslash", "commercial_at": "at", "hyphen_minus": "minus",
              "plus_sign": "plus", "low_line": "underscore"}
_HELD = {"ctrl", "alt", "shift", "super", "meta"}
_MENDED = 40  # broken lines of a file that are left out before the rest is given up


@dataclass(frozen=True)
class Setting:
    """One setting.

    name: its key in the file, "table.key" for one of a table. kind: choice, int, float, bool, text, or keys (a table of
    action → keys). low, high: the smallest and largest number. step: by how much a form changes a number.
    """

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    group: str = ""
    step: float = 1

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return "BABYTUI_" + self.name.upper().replace(".", "_")

    @property
    def allowed(self) -> str:
        """The valid values in words."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "bool":
            return "true or false"
        if self.kind == KEYS:
            return "keys separated by commas, such as f9,ctrl+t"
        if self.kind == "text":
            return "a text"
        noun = "a whole number" if self.kind == "int" else "a number"
        if self.low is not None and self.high is not None and self.high < 1e9:
            return f"{noun} from {self.low:g} to {self.high:g}"
        return noun if self.low is None else f"{noun} of at least {self.low:g}"

    def coerce(self, value: Any) -> Any:
        """The value in this setting's type; everything may come as text. UsageError says what is allowed."""
        found = self._coerced(value)
        if found is None:
            raise UsageError(f"{self.name} must be {self.allowed}, not {shown(value)}.")
        return found

    def _coerced(self, value: Any) -> Any:
        text = value.strip() if isinstance(value, str) else value
        if self.kind == KEYS:
            return _keymap(text)
        if self.kind == "bool":
            return value if isinstance(value, bool) else _TRUTH.get(str(text).lower())
        if self.kind == "choice":
            return text if text in self.choices else None
        if self.kind == "text":
            return text if isinstance(text, str) else None
        return self._number(text)

    def _number(self, value: Any) -> int | float | None:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return None
        try:
            number = int(value) if self.kind == "int" and not isinstance(value, float) else float(value)
            if not math.isfinite(number) or (self.kind == "int" and number != int(number)):
                return None
        except (ValueError, OverflowError):
            return None
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            return None
        return int(number) if self.kind == "int" else float(number)


def _sampler() -> list[Setting]:
    """The arguments that name a setting: what is said about them is said once, in the registry of actions."""
    steps = {"temperature": 0.1, "top_k": 5, "top_p": 0.05, "min_p": 0.05, "repetition": 0.1, "tokens": 100}
    return [Setting(a.setting, a.kind, a.default, a.help, low=a.low, high=a.high, group="sampler",
                    step=steps.get(a.name, 1))
            for a in actions.find("inference").arguments if a.setting]


SETTINGS: dict[str, Setting] = {setting.name: setting for setting in (
    Setting("theme", "choice", "auto", "colours; auto takes what the terminal can: dark, the terminal's own 16 (ansi), "
            "or none (mono)", THEMES, group="look"),
    Setting("mouse", "bool", True, "whether the app takes the mouse; off leaves it to the terminal", group="look"),
    Setting("refresh", "float", 20.0, "how often a run or a reply is painted at most, times a second", low=1, high=60,
            group="look"),
    Setting("pace", "choice", "auto", "how much is painted; auto follows the link, the others keep to one of its steps",
            ("auto", "full", "calm", "slow", "thin"), group="look"),
    Setting("chart.axis", "choice", "step", "what the curve runs over", ("step", "tokens", "time"), group="chart"),
    Setting("chart.scale", "choice", "linear", "the axis of the loss", ("linear", "log"), group="chart"),
    Setting("chart.smoothing", "float", 0.6, "how much of the curve before goes into each point", low=0, high=0.99,
            group="chart", step=0.1),
    Setting("chart.dots", "choice", "braille", "what the curve is drawn with; ascii for fonts without braille",
            ("braille", "ascii"), group="chart"),
    Setting("vim", "bool", False, "j k h l g G ctrl+d ctrl+u move wherever no text is typed", group="keyboard"),
    Setting("shell.editing", "choice", "emacs", "how the shell's line is edited", ("emacs", "vi"), group="keyboard"),
    *_sampler(),
    Setting("workspace", "text", "", "the folder of models and runs where nothing else names one, instead of ~/babytui",
            group="start"),
    Setting("tour", "bool", True, "whether the next start shows the tour of four steps", group="start"),
    Setting(KEYS, KEYS, {}, "keys of actions in the app", group=KEYS),
)}


@dataclass(frozen=True)
class Settings:
    """The values that hold now. origins: default, file, environment or command line, by name. problems: a sentence for
    everything that was not understood."""

    values: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def keys(self) -> dict[str, str]:
        """Action → keys separated by commas; an empty text for an action without keys."""
        return dict(self.values[KEYS])


def path() -> Path:
    """The settings file: $BABYTUI_SETTINGS, else settings.toml in the user's folder of configurations."""
    if named := os.environ.get(FILE_VARIABLE):
        return Path(os.path.expanduser(named)).absolute()
    if os.name == "posix" and sys.platform != "darwin":  # as platformdirs says, without the time that its import takes
        base = os.environ.get("XDG_CONFIG_HOME", "").strip()
        return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "babytui" / "settings.toml"
    import platformdirs

    return Path(platformdirs.user_config_dir("babytui")) / "settings.toml"


_given: dict[str, Any] = {}  # by the command line of this process
_last: tuple[Any, Settings] | None = None


def give(name: str, value: Any) -> None:
    """What the command line says about a setting; it holds for this process."""
    _given[name] = SETTINGS[name].coerce(value)


def current() -> Settings:
    """The settings as they are now. They are read again when the file or the environment has changed."""
    global _last
    file = path()
    variables = tuple((key, value) for key, value in os.environ.items() if key.startswith("BABYTUI_"))
    try:
        status = os.stat(file)
        mark: Any = (status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        mark = error.errno
    state = (str(file), mark, variables, tuple(map(str, _given.items())))
    if _last is None or _last[0] != state:
        _last = (state, read(file, os.environ, _given))
    return _last[1]


def get(name: str) -> Any:
    """The present value of a setting."""
    return current()[name]


def default_of(argument: actions.Argument) -> Any:
    """The value of an argument that is not given: its setting's, where it has one."""
    return get(argument.setting) if argument.setting else argument.default


def read(file: Path, environ: Mapping[str, str], given: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a file, an environment and a command line. Never fails; a missing file is an empty one."""
    values = {name: setting.default for name, setting in SETTINGS.items()}
    origins = dict.fromkeys(values, DEFAULT)
    problems: list[str] = []
    found, text = _load(file, problems)
    for key, value in _flat(found):
        try:
            name = _known(key)
            values[name] = {**values[KEYS], **keys_entry(key, value)} if name == KEYS else SETTINGS[name].coerce(value)
        except UsageError as error:
            problems.append(f"{_shown(file)} line {_line_of(text, key)}: {error}")
        else:
            origins[name] = FILE
    for name, setting in SETTINGS.items():
        if said := environ.get(setting.variable, "").strip():
            try:
                value = setting.coerce(said)
            except UsageError as error:
                problems.append(f"${setting.variable}: {error}")
            else:
                values[name] = {**values[name], **value} if name == KEYS else value
                origins[name] = ENVIRONMENT
    for name, value in (given or {}).items():
        values[name], origins[name] = value, COMMAND
    return Settings(values, origins, tuple(problems))


def _load(file: Path, problems: list[str]) -> tuple[dict[str, Any], str]:
    """What a file holds, without the lines that are not TOML, and its text."""
    from store.reading import read_bytes

    try:
        text = read_bytes(file, MAX_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
    except NotFound:
        return {}, ""
    except UnicodeDecodeError as error:
        problems.append(f"{_shown(file)} is not UTF-8 text (byte {error.start}); it is not used.")
        return {}, ""
    except BabyError as error:
        problems.append(f"{str(error).removesuffix('.')}; the settings in it are not used.")
        return {}, ""
    import tomllib

    lines = text.split("\n")
    for _ in range(_MENDED):
        try:
            return tomllib.loads("\n".join(lines)), text
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            at = _broken_line(str(error), lines)
            if at is None:
                break
            key = lines[at].partition("=")[0].strip()[:60]
            reason = re.sub(r"\s*\(at .*\)$", "", str(error)).rstrip(".")
            problems.append(f"{_shown(file)} line {at + 1}: {shown(key)} is not TOML ({reason}); the line is left out.")
            lines[at] = ""
    problems.append(f"{_shown(file)} is not TOML; it is not used.")
    return {}, text


def _broken_line(message: str, lines: list[str]) -> int | None:
    """The index of the line that the parser complains of; the last one with text when it met the end."""
    if found := re.search(r"at line (\d+)", message):
        at = int(found[1]) - 1
        if at < len(lines) and lines[at].strip():
            return at
    return next((n for n in range(len(lines) - 1, -1, -1) if lines[n].strip()), None)


def _flat(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Keys as "table.key". Dots inside a name stay: keys of [keys] have them."""
    flat: list[tuple[str, Any]] = []
    for key, value in found.items():
        flat += ((f"{key}.{inner}", v) for inner, v in _leaves(value)) if isinstance(value, dict) else [(key, value)]
    return flat


def _leaves(table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [pair for key, value in table.items() for pair in
            ([(f"{key}.{inner}", v) for inner, v in _leaves(value)] if isinstance(value, dict) else [(key, value)])]


def _known(key: str) -> str:
    """The setting that a key of the file belongs to; UsageError with the nearest when there is none."""
    if key.startswith(KEYS + "."):
        return KEYS
    if key in SETTINGS and key != KEYS:
        return key
    near = difflib.get_close_matches(key, [name for name in SETTINGS if name != KEYS], n=1)
    raise UsageError(f"there is no setting {shown(key)}" + (f"; did you mean {near[0]}?" if near else "."))


def find(name: str) -> Setting:
    """The setting of this name ("keys.pause" is one of keys); UsageError with the nearest when there is none."""
    try:
        if name.startswith(KEYS + "."):
            keys_entry(name, "")
        return SETTINGS[KEYS if name == KEYS else _known(name)]
    except UsageError as error:
        raise UsageError(str(error)[:1].upper() + str(error)[1:]) from None


def _line_of(text: str, key: str) -> int:
    """The line of a key, counted from 1; that of its table, or 1, when it is not found."""
    table, _, inner = key.partition(".")
    inside, best = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if found := re.match(r"\[+\s*([^\]]+?)\s*\]", line):
            inside = found[1].replace('"', "").replace("'", "").replace(" ", "")
            best = number if inside == table and inner else best
            continue
        name = line.partition("=")[0].replace('"', "").replace("'", "").strip()
        if (f"{inside}.{name}" if inside else name) == key:
            return number
    return best


def _shown(file: Path) -> str:
    from store.atomic import shown_path

    return shown_path(file)


# --- keys -----------------------------------------------------------------------------------------


def key_actions() -> dict[str, actions.Action]:
    """Everything whose keys can be changed: the id of an action, "node.id" where it has keys of its own at a node."""
    return {id_: action for action in actions.offered(actions.APP) if action.app
            for id_ in (action.id, *(f"{node}.{action.id}" for node in action.also))}


def default_keys() -> dict[str, str]:
    """The keys of every id when nobody changes them, separated by commas."""
    return {id_: action.key if id_ == action.id else action.also[id_.removesuffix("." + action.id)][0]
            for id_, action in key_actions().items()}


def keys_entry(key: str, value: Any) -> dict[str, str]:
    """{"pause": "P,f8"} from "keys.pause" and what the file or a person says; UsageError when it makes no sense."""
    id_ = key.removeprefix(KEYS + ".")
    ids = key_actions()
    if id_ not in ids:
        near = difflib.get_close_matches(id_, ids, n=1)
        raise UsageError(f"there is no action {shown(id_)}" + (f"; did you mean keys.{near[0]}?" if near else "."))
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ",".join(value)
    keys = _keys(value) if isinstance(value, str) else None
    if keys is None:
        raise UsageError(f"{key} must be {SETTINGS[KEYS].allowed}, not {shown(value)}.")
    return {id_: keys}


def _keys(text: str) -> str | None:
    """Keys separated by commas as Textual names them: "?" is question_mark. None when one cannot be a key."""
    found: list[str] = []
    for key in filter(None, (part.strip() for part in text.split(","))):
        *held, last = key.split("+") if key != "+" else [key]
        if len(last) == 1 and not last.isalnum():
            name = unicodedata.name(last, "").lower().replace("-", "_").replace(" ", "_")
            last = _KEY_NAMES.get(name, name)
        if not re.fullmatch(r"\w+", last) or not set(held) <= _HELD:
            return None
        found.append("+".join([*held, last]))
    return ",".join(dict.fromkeys(found))


def _keymap(value: Any) -> dict[str, str] | None:
    """The keys of the environment: "pause=P; resume=f8,ctrl+u". UsageError as `keys_entry`, None for another form."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(";") if part.strip()]
        if not all(sign for _, sign, _ in pairs):
            return None
        value = {name.strip(): keys for name, _, keys in pairs}
    if not isinstance(value, Mapping):
        return None
    return {id_: keys for name, text in value.items() for id_, keys in keys_entry(f"{KEYS}.{name}", text).items()}
