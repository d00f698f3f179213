"""babytui settings"""

from __future__ import annotations

from typing import Any

from babytui import settings
from babytui.cli.output import Output
from babytui.settings import KEYS, SETTINGS, Settings
from engine.errors import UsageError


def run(arguments: Any) -> int:
    """Show all settings or one, change one, or reset one or all."""
    out: Output = arguments.out
    name, value = arguments.name, arguments.value
    if name is not None:
        settings.find(name)  # before anything is done with it
    if arguments.path:
        if name is not None or arguments.reset:
            raise UsageError("--path only prints where the settings are; give it alone.")
        out.data({"path": str(settings.path())}) if out.json else out.value(str(settings.path()))
        return 0
    if arguments.reset:
        if value is not None:
            raise UsageError(f"--reset takes {name} back to its default; leave '{value}' out.")
        _reset(name, out)
    elif value is not None:
        _change(name, value, out)
    elif out.json:
        out.data(_data(settings.current(), name))
    elif name is not None:
        _print_one(name, out)
    else:
        _print_all(settings.current(), out)
    return 0


def _change(name: str, value: str, out: Output) -> None:
    from babytui import settings_file

    written = settings_file.change(name, value)
    if out.json:
        out.data(_data(settings.current(), name))
    out.say(f"{name} = {_text(written)} in {settings.path()}")
    _warn_of_another(name, out)


def _reset(name: str | None, out: Output) -> None:
    from babytui import settings_file

    settings_file.reset(name)
    if out.json:
        out.data(_data(settings.current(), name))
    if name is None:
        out.say(f"All settings have their defaults again ({settings.path()}).")
    else:
        out.say(f"{name} = {_text(_value(settings.current(), name))}")
        _warn_of_another(name, out)


def _warn_of_another(name: str, out: Output) -> None:
    setting = settings.find(name)
    if settings.current().origins[setting.name] == settings.ENVIRONMENT:
        out.say(f"${setting.variable} is set and comes before the file.")


def _value(found: Settings, name: str) -> Any:
    """The value of a setting, or of one action's keys: as set, else as the registry has them."""
    if not name.startswith(KEYS + "."):
        return found[name]
    id_ = name.removeprefix(KEYS + ".")
    settings.keys_entry(name, "")
    return found.keys.get(id_, settings.default_keys()[id_])


def _print_one(name: str, out: Output) -> None:
    value = _value(settings.current(), name)
    if isinstance(value, dict):
        for id_, keys in value.items():
            out.print(f"{KEYS}.{id_} = {keys}")
    else:
        out.value(_text(value))
        setting = settings.find(name)
        about = _help_of(name.removeprefix(KEYS + ".")) if setting.kind == KEYS else setting.help
        out.say(f"{about} ({setting.allowed}; ${setting.variable})")


def _data(found: Settings, name: str | None) -> Any:
    """One object, or a list of one for each setting, with what is known about it."""
    if name is not None and name.startswith(KEYS + "."):
        return {"name": name, "value": _value(found, name),
                "default": settings.default_keys()[name.removeprefix(KEYS + ".")], "kind": KEYS,
                "origin": found.origins[KEYS] if name.removeprefix(KEYS + ".") in found.keys else settings.DEFAULT}
    entries = [{"name": s.name, "value": found[s.name], "default": s.default, "origin": found.origins[s.name],
                "kind": s.kind, "allowed": s.allowed, "help": s.help, "variable": s.variable}
               for s in SETTINGS.values()]
    return entries if name is None else next(entry for entry in entries if entry["name"] == name)


def _print_all(found: Settings, out: Output) -> None:
    rows = [(s.name, _text(found[s.name]), "" if found.origins[s.name] == settings.DEFAULT else found.origins[s.name],
             s.help)
            for s in SETTINGS.values() if s.kind != KEYS]
    rows += [(f"{KEYS}.{id_}", keys or "none", found.origins[KEYS], _help_of(id_)) for id_, keys in found.keys.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        out.print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]).rstrip())
    if not found.keys:
        out.say("Keys: `babytui settings keys.ACTION KEY,KEY`, such as keys.pause P.")
    out.say(f"The file is {settings.path()}" + ("." if settings.path().exists() else ", which does not exist yet."))


def _help_of(id_: str) -> str:
    return settings.key_actions()[id_].help


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "; ".join(f"{id_}={keys}" for id_, keys in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


__all__ = ["run"]
