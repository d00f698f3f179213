"""Changing the settings file: a person's comments, order and unknown keys stay; it is private and replaced whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babytui import settings
from babytui.settings import KEYS, SETTINGS
from engine.errors import NotFound, UsageError
from store import atomic
from store.reading import read_bytes

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

HEADER = ("Settings of babytui: `babytui settings` lists them all, with what they mean.",
          "The command line comes before the environment, the environment before this file.")


def change(name: str, value: Any, file: Path | None = None) -> Any:
    """Writes one setting ("keys.pause" for one action's keys) and returns its value in its type.

    UsageError for a wrong name or value, or a file that is not TOML; StoreError when it cannot be written.
    """
    setting = settings.find(name)
    if setting.name == KEYS:
        if name == KEYS:
            value = setting.coerce(value)
            change_all({f"{KEYS}.{id_}": keys for id_, keys in value.items()}, file)
            return value
        value = settings.keys_entry(name, value)[name.removeprefix(KEYS + ".")]
    else:
        value = setting.coerce(value)
    change_all({name: value}, file)
    return value


def change_all(values: dict[str, Any], file: Path | None = None) -> None:
    """Writes several settings at once, which must be valid."""
    if not values:
        return
    file = file or settings.path()
    document = _read(file)
    for name, value in values.items():
        document = _put(document, name, value)
    _write(file, document)


def reset(name: str | None = None, file: Path | None = None) -> None:
    """Takes a setting, all keys ("keys"), or everything out of the file, so that the defaults hold.

    A file that is not TOML is kept beside as settings.toml.old when everything is reset.
    """
    file = file or settings.path()
    if name is None:
        _reset_all(file)
        return
    settings.find(name)
    document = _read(file)
    if _take(document, name):
        _write(file, document)


def _reset_all(file: Path) -> None:
    try:
        document = _read(file)
    except UsageError:
        atomic.write_bytes(file.with_name(file.name + ".old"), read_bytes(file, settings.MAX_BYTES))
        _write(file, _new())
        return
    taken = [name for name in SETTINGS if _take(document, name)]
    if taken:
        _write(file, document)


def _new() -> TOMLDocument:
    import tomlkit

    document = tomlkit.document()
    for line in HEADER:
        document.add(tomlkit.comment(line))
    return document


def _read(file: Path) -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        data = read_bytes(file, settings.MAX_BYTES)
    except NotFound:
        return _new()
    try:
        return tomlkit.parse(data.decode("utf-8-sig"))
    except (TOMLKitError, UnicodeDecodeError, ValueError, RecursionError):
        problems = settings.read(file, {}).problems
        raise UsageError(f"{problems[0] if problems else f'{atomic.shown_path(file)} is not TOML.'} Mend it before "
                         "something is changed, or start anew with `babytui settings --reset`.") from None


def _write(file: Path, document: TOMLDocument) -> None:
    import tomlkit

    real = Path(os.path.realpath(file))  # it may be a link into a folder of such files
    if not real.parent.is_dir():
        atomic.make_folder(real.parent, 0o700)
    data = tomlkit.dumps(document).encode("utf-8")
    if real.exists():
        atomic.write_bytes(real, data)
    else:
        with atomic.replacing(real, overwrite=False) as written:
            os.fchmod(written.fileno(), 0o600)  # private from its first moment on
            written.write(data)


def _put(document: TOMLDocument, name: str, value: Any) -> TOMLDocument:
    """The document with a value in it."""
    import tomlkit

    table, _, key = name.partition(".")
    if key:
        if not isinstance(document.get(table), dict):
            document[table] = tomlkit.table()
        document[table][key] = value
        return document
    if table in document or not any(isinstance(item, dict) for item in document.values()):
        document[table] = value
        return document
    # before the first table, or it would belong to the last one; what is said above the table stays with it
    rows = tomlkit.dumps(document).split("\n")
    at = next(n for n, row in enumerate(rows) if row.lstrip().startswith("["))
    while at > 0 and rows[at - 1].lstrip().startswith("#"):
        at -= 1
    rows[at:at] = [tomlkit.dumps({table: value}).rstrip("\n"), ""]
    return tomlkit.parse("\n".join(rows))


def _take(document: TOMLDocument, name: str) -> bool:
    table, _, key = name.partition(".")
    if not key:
        return document.pop(table, None) is not None
    inner = document.get(table)
    if not isinstance(inner, dict) or key not in inner:
        return False
    del inner[key]
    if not inner:
        del document[table]
    return True
