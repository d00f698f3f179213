"""The workspace: where everything lies, and what a person may call it by. Imports no arrays."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.config import shown
from engine.errors import BabyError, FormatError, NotFound, UsageError
from store import configs, entries, plans, trash
from store.atomic import StoreError, make_folder, mode, shown_path, write_bytes, write_json
from store.entries import JSON_LIMIT, Entry
from store.names import (
    FINETUNED,
    FOLDERS,
    PATTERNS,
    SHIPPED,
    check_name,
    check_note,
    file_name,
    inside,
    new_guid,
    split_guid,
    valid_guid,
)
from store.reading import read_bytes, read_json
from store.trash import Deleted

__all__ = ["Deleted", "Entry", "Workspace", "new_guid", "valid_guid"]


PRESETS = "presets"  # the folder of saved configurations, in settings


def check_free(name: str, entries: Collection[Entry], but: str = "") -> None:
    """UsageError when a name is that of another than `but`, or another's GUID begins so: it would stand for both.
    So would that of the model that ships."""
    if name.casefold() == SHIPPED:
        raise UsageError(f"The name {shown(name)} is that of the model that ships; choose another.")
    for other in entries:
        if other.guid != but and other.name.casefold() == name.casefold():
            raise UsageError(f"{shown(name)} is already the name of {other.guid}; choose another.")
        if other.guid != but and len(name) >= 4 and other.guid.startswith(name.lower()):
            raise UsageError(f"{shown(name)} is how the GUID {other.guid} begins; choose another.")


class Workspace:
    """A folder with inputs, settings, configs, tokenizers, models, outputs and runs. Making one touches nothing."""

    def __init__(self, path: str | Path):
        if "\0" in str(path):
            raise UsageError(f"{shown(str(path))} is not a path.")
        try:
            self.root = Path(path).expanduser().resolve()
        except (OSError, RuntimeError) as error:
            raise UsageError(f"{shown_path(path)} cannot be a workspace: {error}.") from None
        self.inputs = self.root / "inputs"
        self.settings = self.root / "settings"
        self.configs = self.root / "configs"
        self.tokenizers = self.root / "tokenizers"
        self.models = self.root / "models"
        self.outputs = self.root / "outputs"
        self.runs = self.root / "runs"
        self.trash = self.root / ".trash"

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    def ensure(self) -> Workspace:
        """Creates the folders that are missing (runs is private to the user) and returns itself. StoreError."""
        for folder in (self.inputs, self.settings, self.configs, self.tokenizers, self.models, self.outputs):
            make_folder(folder)
        make_folder(self.runs, 0o700)
        return self

    # --- paths -------------------------------------------------------------------------------------------------------

    def path(self, kind: str, guid: str, finetuned: bool = False, stamp: str | None = None) -> Path:
        """Where an artifact is written. kind: config, tokenizer, model, adapter, report or completion; stamp: of a
        completion.

        NotFound for what is no GUID, FormatError when a symbolic link there leads out of the workspace.
        """
        return self._safe(self.root / FOLDERS[kind] / file_name(kind, guid, finetuned, stamp))

    def find(self, kind: str, guid: str, finetuned: bool = False, stamp: str | None = None) -> Path:
        """Where an artifact that exists can be read, also under the names of earlier versions. NotFound."""
        path = self.path(kind, guid, finetuned, stamp)
        bare, suffix = split_guid(guid)
        whole = bare + (FINETUNED if finetuned or suffix else "")
        older = {"model": [self.models / f"model_{whole}.weights", self.models / f"{whole}.weights"],
                 "config": [self.root / "config" / path.name]}
        for candidate in [path, *older.get(kind, [])]:
            if stat.S_ISREG(mode(self._safe(candidate))):
                return candidate
        if kind == "model" and (pickle := self.models / f"model_{whole}_all.pkl").exists():
            raise FormatError(f"{pickle.name} is a pickle, which can run code when it is opened and is never read; "
                              "export the model as JSON with the program that wrote it.")
        raise NotFound(f"There is no {kind} of {whole} in {shown_path(self.root)}.")

    def run_dir(self, guid: str) -> Path:
        """The folder of a run (it need not exist)."""
        bare, suffix = split_guid(guid)
        return self._safe(self.runs / (bare + (FINETUNED if suffix else "")))

    def plan(self, guid: str) -> dict[str, Any]:
        """What a run was started with (runs/<GUID>/plan.json); empty when there is no such run or it cannot be read."""
        try:
            return plans.read(self.run_dir(guid) / plans.NAME)
        except BabyError:
            return {}

    def completions(self, guid: str) -> list[tuple[Path, str | None]]:
        """The saved replies of a model with their time stamps: training's first, then by time."""
        bare, suffix = split_guid(guid)
        whole = bare + (FINETUNED if suffix else "")
        found = []
        with suppress(OSError):
            for name in os.listdir(self.outputs):
                match = PATTERNS["outputs"].fullmatch(name)
                if match and match[1] == "completion" and match[2] == whole:
                    with suppress(FormatError):
                        found.append((self._safe(self.outputs / name), match[3]))
        return sorted(found, key=lambda pair: pair[1] or "")

    def texts(self) -> list[Path]:
        """inputs/*.txt, by name. Links that lead out of the workspace are left out."""
        with suppress(OSError):
            return [p for p in sorted(self.inputs.glob("*.txt")) if p.is_file() and inside(p, self.root)]
        return []

    def _safe(self, path: Path) -> Path:
        """The path, unless it or its folder is a link that leads out of the workspace: FormatError."""
        for part in (path.parent, path):
            if stat.S_ISLNK(mode(part, follow=False)) and not inside(part, self.root):
                raise FormatError(f"{shown_path(part)} is a link that leads out of the workspace; it is not followed.")
        return path

    # --- what is there -----------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Every model and run, newest first. Reads small files only; a broken one is named in its entry's problems."""
        return entries.scan(self.root)

    def resolve(self, ref: str) -> str:
        """The GUID (perhaps with `_finetuned`) for a GUID, an unambiguous prefix, a name, or "last". NotFound names
        the nearest, or up to 5 that fit."""
        return self.entry(ref).guid

    def entry(self, ref: str) -> Entry:
        """The entry for a reference as in `resolve`."""
        everything = self.entries()
        ref = ref.strip()
        if ref.lower() == "last":
            return self._last_entry(everything)
        fits = [e for e in everything if e.guid == ref.lower()] or [e for e in everything if e.name and e.name == ref]
        fits = fits or (_by_prefix(everything, ref.lower()) if ref else [])
        fits = fits or [e for e in everything if e.name and e.name.casefold() == ref.casefold()]
        if len(fits) == 1:
            return fits[0]
        if fits:
            listed = ", ".join(_label(e) for e in fits[:5]) + (", …" if len(fits) > 5 else "")
            raise NotFound(f"{shown(ref)} fits {len(fits)} models: {listed}; give more of the GUID.")
        raise NotFound(_nearest(everything, ref, self.root))

    def _last_entry(self, everything: list[Entry]) -> Entry:
        with suppress(FormatError):  # but not when the disk does not give it out: another model would be taken
            guid = self.last()["last_uuid"]
            for entry in everything:
                if entry.guid == guid:
                    return entry
        for entry in everything:
            if entry.has_model:
                return entry
        raise NotFound(f"There is no model in {shown_path(self.root)} yet; train one first.")

    # --- changing ----------------------------------------------------------------------------------------------------

    def rename(self, guid: str, name: str) -> None:
        """Gives a model or run a name; empty takes it away. UsageError when it is not allowed or taken."""
        name = check_name(name)
        guid, everything = self._known(guid)
        if name:
            check_free(name, everything, guid)
        self._keep(guid, "name", name)

    def annotate(self, guid: str, note: str) -> None:
        """Keeps a note with a model or run; empty takes it away. UsageError when it is not allowed."""
        note = check_note(note)
        guid, _ = self._known(guid)
        self._keep(guid, "note", note)

    def _keep(self, guid: str, what: str, value: str) -> None:
        """A name or note in the config and in the plan, as far as there are such; without a value the key goes."""
        files = [(self.path("config", guid), f"babytui_{what}"), (self.run_dir(guid) / plans.NAME, what)]
        there = [(path, key) for path, key in files if stat.S_ISREG(mode(path))]
        if not there:
            raise UsageError(f"{guid} has no config of its own in which a {what} could be kept.")
        for path, key in there:
            raw = {**read_json(path, JSON_LIMIT), key: value}
            if not value and what != "name":
                del raw[key]
            write_json(path, raw)

    def delete(self, guid: str) -> Deleted:
        """Moves all files of exactly this GUID (its finetuned model is another) and its run to the trash.

        NotFound, RunError when it is still training, StoreError when a file cannot be moved (then none is).
        """
        guid, everything = self._known(guid)
        name = next(e.name for e in everything if e.guid == guid)
        return trash.discard(self.root, guid, [self.run_dir(guid)], lambda: self.files_to_delete([guid]), name=name)

    def files_to_delete(self, guids: Collection[str]) -> list[Path]:
        """Every file of these GUIDs as it is now. A finetuned model that stays gets the config of its base first, if it
        has none of its own."""
        everything = self.entries()
        for guid in guids:
            heir = self.path("config", guid, finetuned=True)
            finetuned = any(e.guid == guid + FINETUNED and e.has_model for e in everything)
            if finetuned and guid + FINETUNED not in guids and not heir.exists():
                with suppress(NotFound, StoreError):
                    write_bytes(heir, read_bytes(self.find("config", guid), JSON_LIMIT), overwrite=False)
        return [path for e in everything if e.guid in guids for path in e.files]

    def undelete(self, deleted: Deleted) -> None:
        """Brings back what `delete` moved away. NotFound, StoreError (then nothing is moved)."""
        trash.restore(self.root, deleted.trash)

    def _known(self, guid: str) -> tuple[str, list[Entry]]:
        bare, suffix = split_guid(guid)
        everything = self.entries()
        if any(e.guid == guid for e in everything):
            return bare + (FINETUNED if suffix else ""), everything
        raise NotFound(_nearest(everything, guid, self.root))

    # --- settings ----------------------------------------------------------------------------------------------------

    def current(self) -> dict[str, Any]:
        """The parameters in settings/current.json (or where earlier versions had it) under our names; empty when there
        is none. FormatError."""
        path = self._settings_file("current.json")
        if path is None:
            return {}
        raw = read_json(path, JSON_LIMIT)
        config = configs.import_config(raw, f"{path.parent.name}/{path.name}", trained=False)
        return {name: config.values[name] for name in configs.parameters_of(raw, trained=False)}

    def save_current(self, config: Mapping[str, Any]) -> None:
        """Writes settings/current.json so that the earlier program can read it too. Its unknown keys stay."""
        old: dict[str, Any] = {}
        with suppress(FormatError):
            path = self._settings_file("current.json")
            old = configs.unknown_keys(read_json(path, JSON_LIMIT)) if path else {}
        new = {**configs.export_config(config), "babytui_format": configs.FORMAT}
        self._write_settings("current.json", {**{key: old[key] for key in old if key not in new}, **new})

    def presets(self) -> dict[str, Path]:
        """The configurations that were saved under a name (settings/presets/<name>.json), by name."""
        folder = self._safe(self.settings / PRESETS)
        with suppress(OSError):
            return {path.stem: path for path in sorted(folder.iterdir())
                    if path.suffix == ".json" and path.name[0] != "." and stat.S_ISREG(mode(path, follow=False))}
        return {}

    def preset(self, name: str) -> dict[str, Any]:
        """The parameters that were saved under this name, under our names. NotFound names the others, FormatError."""
        known = self.presets()
        if name not in known:
            there = f"; there are {', '.join(map(shown, known))}" if known else ""
            raise NotFound(f"No configuration was saved as {shown(name)}{there}.")
        raw = read_json(known[name], JSON_LIMIT, follow=False)
        config = configs.import_config(raw, shown_path(known[name].name), trained=False)
        return {key: config.values[key] for key in configs.parameters_of(raw, trained=False)}

    def save_preset(self, name: str, config: Mapping[str, Any]) -> Path:
        """Saves parameters under a name, instead of what has that name, as settings/current.json is written. UsageError
        for a name that cannot be."""
        name = check_name(name)
        if not name:
            raise UsageError("A saved configuration needs a name.")
        path = self._safe(self.settings / PRESETS / f"{name}.json")
        make_folder(path.parent)
        write_json(self._safe(path), {**configs.export_config(config), "babytui_format": configs.FORMAT})
        return path

    def last(self) -> dict[str, Any]:
        """settings/last.json: last_uuid (a GUID or None), last_prompt (text or None) and its other keys.

        The earlier program wrote "None" for nothing; that and anything that is no GUID reads as None.
        """
        path = self._settings_file("last.json")
        raw = read_json(path, JSON_LIMIT) if path else {}
        guid, prompt = raw.get("last_uuid"), raw.get("last_prompt")
        guid = guid.strip().lower() if isinstance(guid, str) else None
        return {**raw, "last_uuid": guid if valid_guid(guid) else None,
                "last_prompt": prompt if isinstance(prompt, str) and prompt not in ("", "None") else None}

    def save_last(self, guid: str, prompt: str | None = None) -> None:
        """Remembers the model (and prompt) used last. NotFound for what is no GUID."""
        split_guid(guid)
        old: dict[str, Any] = {}
        with suppress(FormatError):
            path = self._settings_file("last.json")
            old = read_json(path, JSON_LIMIT) if path else {}
        self._write_settings("last.json", {**old, "last_uuid": guid, "last_prompt": prompt or ""})

    def _settings_file(self, name: str) -> Path | None:
        for folder in (self.settings, self.configs, self.root / "config"):  # newest generation first
            if stat.S_ISREG(mode(self._safe(folder / name))):
                return folder / name
        return None

    def _write_settings(self, name: str, obj: dict[str, Any]) -> None:
        make_folder(self.settings)
        write_json(self._safe(self.settings / name), obj)


def _by_prefix(everything: list[Entry], ref: str) -> list[Entry]:
    """Entries whose GUID begins with `ref`; `ref_f`, … `ref_finetuned` means finetuned ones, otherwise a base goes
    before."""
    prefix, mark, rest = ref.partition("_")
    if mark:
        return [e for e in everything if e.guid.startswith(prefix) and e.guid.endswith(FINETUNED)] \
            if prefix and rest and FINETUNED.startswith(mark + rest) else []
    fits = [e for e in everything if e.guid.startswith(ref)]
    if len({split_guid(e.guid)[0] for e in fits}) == 1:
        return [e for e in fits if not e.guid.endswith(FINETUNED)] or fits
    return fits


def _label(entry: Entry) -> str:
    return entry.guid[:13] + (FINETUNED if entry.guid.endswith(FINETUNED) else "") + (
        f" ({entry.name})" if entry.name else "")


def _nearest(everything: list[Entry], ref: str, root: Path) -> str:
    if not everything:
        return f"There is no model in {shown_path(root)} yet; train one first."
    length = max(len(ref), 1)
    known = {e.name: e.name for e in everything if e.name} | {e.guid[:length]: e.guid for e in everything}
    near = difflib.get_close_matches(ref, list(known), n=1, cutoff=0.6)
    hint = f"; did you mean {known[near[0]]}?" if near else "; `babytui list` shows all."
    return f"There is no model {shown(ref)} in {shown_path(root)}{hint}"
