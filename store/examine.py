"""What crashes, disks, other programs and strangers leave in a workspace: found and explained. store.repair mends it.

Imports no arrays, unless every model is to be read whole.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from engine.errors import BabyError, FormatError, NotFound
from store import (
    adapters,
    artifacts,
    checkpoint,
    configs,
    conversations,
    entries,
    journal,
    model_file,
    plans,
    reports,
    trash,
)
from store.atomic import StoreError, abandoned, explain, shown_path
from store.entries import JSON_LIMIT, Entry
from store.lock import Lock
from store.names import PATTERNS, inside, short, valid_guid
from store.reading import BOM, open_regular, read_json
from store.repair import Finding, suspended
from store.workspace import PRESETS, Workspace

AGE = 60.0  # seconds: what is younger may be somebody's who has not locked it yet
PART_AGE = 600.0  # the same of parts of models, which another program may be writing one after the other
_WORKS = {"runs": ("events.jsonl", "control.jsonl"), "bakeoffs": ("log.jsonl", "results.jsonl")}
_PRIVATE = ("runs", "bakeoffs", ".trash")
_SETTINGS = ("current.json", "last.json")
_IGNORED = {".DS_Store", ".gitignore", ".gitkeep", "Thumbs.db", "desktop.ini"}
Rebuild = Callable[[str], Callable[[], None]]  # prepares to write a kind of file anew; what it returns writes it
_NEEDED = ("config", "tokenizer", "model", "report")  # what a run that has ended has made
_NONE = re.compile(r"(?!)")
_LOOSE = ("report", "completion", conversations.KIND)  # what a model can do without
_QUICK = 1 << 28  # bytes of a checkpoint whose checksum is worked out in passing
_ENDS = 1 << 16  # bytes at the ends of a model's file that are looked at


def examine(root: Path, *, deep: bool = False, known: Collection[str] = (),
            anew: Callable[[str], Rebuild | None] = lambda guid: None) -> list[Finding]:
    """What is not as it should be in the workspace `root` (resolved). deep: read every model and checkpoint whole.

    known: GUIDs of models that lie elsewhere, whose replies may lie here. anew: how the files of the model with a GUID
    can be made from its run; None when they cannot.
    """
    return list(_Look(root, deep, known, anew).all())


class _Look:
    """One look at a workspace. Every method yields what it finds."""

    def __init__(self, root: Path, deep: bool, known: Collection[str], rebuild: Callable[[str], Rebuild | None]):
        self.root, self.deep, self.known, self.rebuild = root, deep, known, rebuild
        self.ws = Workspace(root)
        self.now = time.time()
        self.places = [root / name for name in _WORKS]
        self.entries = entries.scan(root)
        self.names = {entry.guid: f"{entry.name} ({short(entry.guid)})" if entry.name else short(entry.guid)
                      for entry in self.entries}
        self.deleting = Lock.held(root / ".trash" / "lock")
        self.half = {item.guid for item in self._items() if item.state != trash.WHOLE}

    def all(self) -> Iterator[Finding]:
        """Everything, what matters most first."""
        yield from self.half_deleted()
        works = [(folder, name) for name in _WORKS if inside(self.root / name, self.root)
                 for folder in _listed(self.root / name)]
        for folder, kind in works:
            yield from self.work(folder, kind)
        for entry in self.entries:
            yield from self.model(entry)
        yield from self.conversations()
        yield from self.settings()
        yield from self.temporary()
        yield from self.open_folders()
        yield from self.foreign()

    def name(self, guid: str) -> str:
        """What a person calls it."""
        return self.names.get(guid, short(guid))

    def old(self, path: Path, age: float | None = None) -> bool:
        """Whether nothing has changed there for a while (seconds, AGE unless it is told)."""
        try:
            return self.now - os.lstat(path).st_mtime >= (AGE if age is None else age)
        except OSError:
            return False

    # the trash

    def _items(self) -> list[trash.Item]:
        try:
            return trash.items(self.root)
        except BabyError:
            return []

    def half_deleted(self) -> Iterator[Finding]:
        """Deletes and restores that were killed, and what an emptying has left."""
        try:
            found = trash.items(self.root)
        except BabyError as error:
            yield Finding("foreign", self.root / ".trash", str(error))
            return
        if self.deleting:
            return
        for item in found:
            name = item.name or short(item.guid) or item.folder.name
            if item.state == trash.MOVING:
                yield Finding("half-deleted", item.folder, f"{name} is half deleted: {len(item.inside())} of its parts "
                              f"are in the trash and {len(item.outside(self.root))} are not.", "finish deleting it",
                              mend=partial(_finish, self.root, item))
            elif item.state == trash.RESTORING:
                yield Finding("half-deleted", item.folder, f"{name} is half restored: {len(item.inside())} of its "
                              "parts are still in the trash.", "finish bringing it back",
                              mend=partial(trash.restore, self.root, item.folder))
        there = _listed(self.root / ".trash")
        shown = {item.folder for item in found}
        begun = [path for path in there if path.name.startswith((trash.NEW, f".{trash.RESERVE}.")) or _left(path) or (
            trash.made(path.name) and path not in shown and stat.S_ISDIR(_mode(path)))]
        if begun:
            yield Finding("temporary", begun[0], "A delete or an import was killed before it moved "
                          "anything.", "clear away what it began", mend=partial(_tidy, self.root))
        gone = [path for path in there if path.name.startswith(trash.GONE)]
        if gone:
            yield Finding("half-deleted", gone[0], "The trash was emptied, but not wholly.", "finish emptying it",
                          mend=lambda: trash.empty(self.root, []))

    # runs and bake-offs

    def work(self, folder: Path, kind: str) -> Iterator[Finding]:
        """A run's or bake-off's folder."""
        guid = folder.name
        mode = _mode(folder)
        if stat.S_ISDIR(mode) and guid.startswith(trash.NEW):
            if self.old(folder) and not Lock.held(folder / "lock"):
                yield Finding("temporary", folder, f"{kind}/{shown_path(guid)} is what a process left that was killed "
                              "when it began.", "move it to the trash", aside=True, work=folder,
                              still=partial(self.old, folder))
            return
        if not stat.S_ISDIR(mode) or not valid_guid(guid):
            return  # foreign
        yield from self.lock(folder)
        if Lock.held(folder / "lock"):
            return
        for name in _WORKS[kind]:
            yield from self.torn(folder, folder / name)
        try:
            plan = plans.read(folder / plans.NAME)
        except NotFound:
            if self.old(folder, PART_AGE) and guid not in self.half:
                yield Finding("orphan", folder, f"{kind}/{guid} has no plan.json: it is what is left of a run.",
                              "move it to the trash", aside=True, work=folder,
                              still=lambda: not os.path.lexists(folder / plans.NAME))
            return
        except BabyError as error:
            yield Finding("damaged", folder / plans.NAME, f"{self.name(guid)}: {error} It can be neither watched nor "
                          "continued; what it has saved can be used.")
            plan = {}
        if kind == "runs":
            yield from self.run(folder, plan)
        elif plan:
            yield from self.bake_off(folder, plan)

    def lock(self, folder: Path) -> Iterator[Finding]:
        """A lock that cannot be one, and one whose holder sleeps."""
        path = folder / "lock"
        mode = _mode(path)
        name = self.name(folder.name)
        if mode and not stat.S_ISREG(mode):
            yield Finding("lock", path, f"The lock of {name} is no regular file: nobody can resume or delete it.",
                          "move it to the trash", aside=True, still=lambda: not stat.S_ISREG(_mode(path)))
        elif mode and not os.access(path, os.R_OK | os.W_OK):
            yield Finding("lock", path, f"The lock of {name} cannot be opened: {shown_path(path)} belongs to somebody "
                          "else; whether it is at work cannot be told.")
        elif (owner := Lock.owner(path)) is not None and suspended(owner):
            yield Finding("lock", path, f"{name} is at work, but its process is suspended; `kill -CONT {owner}` lets "
                          "it go on.")

    def torn(self, folder: Path, path: Path) -> Iterator[Finding]:
        """A journal that ends in the middle of a line."""
        if not _mode(path):
            return
        try:
            count = journal.torn(path)
        except BabyError as error:
            yield Finding("damaged", path, f"{self.name(folder.name)}: {error}")
            return
        if count:
            yield Finding("torn", path, f"{path.name} of {self.name(folder.name)} ends with {count:,} bytes of a line "
                          "that was never whole.", "cut them off", mend=partial(journal.repair, path), work=folder,
                          still=lambda: journal.torn(path) > 0)

    def run(self, folder: Path, plan: dict[str, Any]) -> Iterator[Finding]:
        """A run that is not at work: whether it died, and what it can go on from."""
        with suppress(BabyError):
            last = journal.tail(folder / "events.jsonl", 1)
            died = bool(plan) and not (last and last[-1].get("event") == "end")
            step = last[-1].get("step") if last else None
            saved, damaged = self.checkpoints(folder) if died or self.deep else (None, [])
            if died:
                guid = short(folder.name)
                at = f" after step {step:,}" if type(step) is int else ""
                again = f"goes on from step {saved:,}" if saved is not None else (
                    "begins it again, to the same end: no checkpoint can be read")
                yield Finding("died", folder, f"{self.name(folder.name)} died{at}; `babytui resume {guid}` {again}.")
            yield from damaged

    def checkpoints(self, folder: Path) -> tuple[int | None, list[Finding]]:
        """The step of the newest checkpoint that is whole, and those that are not, as far as they were read."""
        saved: int | None = None
        damaged: list[Finding] = []
        there = _listed(folder / "checkpoints") if stat.S_ISDIR(_mode(folder / "checkpoints")) else []
        newest = sorted((path for path in there if path.name.startswith("step_")), reverse=True)
        for path in [*newest, *(path for path in there if path.name == "best.safetensors")]:
            try:
                step = checkpoint.verify(path, most=checkpoint.LIMIT if self.deep else _QUICK).get("step")
            except NotFound:
                continue
            except BabyError as error:
                damaged.append(Finding("damaged", path, f"{self.name(folder.name)}: {error} The one before it is used.",
                                       "move it to the trash", aside=True, work=folder,
                                       still=partial(_refused, partial(checkpoint.verify, path))))
                continue
            if saved is None and type(step) is int:
                saved = step
            if not self.deep:
                break
        return saved, damaged

    def bake_off(self, folder: Path, plan: dict[str, Any]) -> Iterator[Finding]:
        """A bake-off that is not at work, and ended without a word."""
        with suppress(BabyError):
            last = journal.tail(folder / "log.jsonl", 1)
            rows = journal.read(folder / "results.jsonl")[0]
            done = {tuple(str(row.get(key)) for key in ("attention", "network", "sequence")) for row in rows}
            wanted = plan.get("architectures")
            asked = {tuple(map(str, one)) for one in wanted or [] if isinstance(one, list)}
            if not asked <= done and not (last and last[-1].get("event") == "end"):
                guid = short(folder.name)
                yield Finding("died", folder, f"The bake-off {plan.get('name') or guid} died with {len(asked & done)} "
                              f"of {len(asked)} models done; `babytui bakeoff resume {guid}` goes on with the others.")

    # models

    def model(self, entry: Entry) -> Iterator[Finding]:
        """The files of one GUID, and parts without a model and a run."""
        if entry.guid in self.half:
            return
        run = self.root / "runs" / entry.guid
        has_run = stat.S_ISDIR(_mode(run))
        if not entry.has_model and not has_run and not any(path.suffix == ".pkl" for path in entry.files):
            if entry.guid not in self.known and all(self.old(path, PART_AGE) for path in entry.files):
                yield from self.orphan(entry)
            return
        if has_run and Lock.held(run / "lock"):
            return  # it may be writing them
        missing = list(self.missing(entry.guid, run, entry.has_model)) if has_run else []
        yield from missing
        told = {f"{self.name(entry.guid)}: {problem}" for problem in entry.problems if missing and problem.startswith(
            ("It has no config;", "It has no tokenizer;"))}
        for path in entry.files:
            match = PATTERNS.get(path.parent.name, _NONE).fullmatch(path.name)
            if match and not path.is_symlink() and path.parent.parent == self.root:
                stamp = match[3] if match[1] == "completion" else None
                for finding in self.artifact(entry, match[1] or "model", path, stamp):
                    told.add(finding.text)
                    yield finding
        for problem in entry.problems:
            text = f"{self.name(entry.guid)}: {problem}"
            if text not in told and plans.NAME not in problem:
                yield Finding("problem", entry.files[0] if entry.files else self.root, text)

    def conversations(self) -> Iterator[Finding]:
        """Those with models that lie elsewhere, or are gone."""
        there = {entry.guid for entry in self.entries} | self.half
        for path in _listed(self.root / "outputs") if inside(self.root / "outputs", self.root) else ():
            match = PATTERNS["outputs"].fullmatch(path.name)
            if match and match[1] == conversations.KIND and match[2] not in there and stat.S_ISREG(_mode(path)):
                entry = Entry(match[2], files=[path])
                if entry.guid in self.known:
                    yield from self.artifact(entry, conversations.KIND, path, None)
                elif self.old(path, PART_AGE):
                    yield from self.orphan(entry)

    def orphan(self, entry: Entry) -> Iterator[Finding]:
        """Parts of a model that is not there."""
        for path in entry.files:
            text = f"{path.name} is a part of {self.name(entry.guid)}, of which there is no model and no run."
            yield Finding("orphan", path, text, "move it to the trash", aside=True,
                          still=partial(self._alone, entry.guid))

    def _alone(self, guid: str) -> bool:
        """Whether no model or run of this GUID has come in the meantime."""
        return not _mode(self.root / "runs" / guid) and not _mode(self.ws.path("model", guid))

    def artifact(self, entry: Entry, kind: str, path: Path, stamp: str | None) -> Iterator[Finding]:
        """One file of a model."""
        def check() -> None:
            _check(self.ws, kind, entry.guid, path, stamp, self.deep)

        try:
            check()
        except NotFound:
            return
        except BabyError as error:
            text = f"{self.name(entry.guid)}: {error}"
        else:
            return
        run = self.root / "runs" / entry.guid
        work = run if stat.S_ISDIR(_mode(run)) else None
        anew = self.anew(entry.guid, kind, path)
        if anew is not None:
            source, write = anew
            yield Finding("damaged", path, text, f"move it to the trash and write it anew from {source}", work=work,
                          mend=write, still=partial(_refused, check))
        elif kind in _LOOSE:
            yield Finding("damaged", path, text, "move it to the trash", aside=True, work=work,
                          still=partial(_refused, check))
        else:
            yield Finding("damaged", path, f"{text} Put a copy of it there if you have one; `babytui delete "
                          f"{short(entry.guid)}` moves the model to the trash.")

    def missing(self, guid: str, run: Path, has_model: bool) -> Iterator[Finding]:
        """What a run that has come to an end has made, and is not there any more."""
        for kind in _NEEDED:
            with suppress(BabyError):
                path = self.ws.path(kind, guid)
                gone = partial(_absent, partial(self.ws.find, kind, guid))
                anew = self.anew(guid, kind, path) if gone() and not path.is_symlink() else None
                if anew is not None and (has_model or self.rebuild(guid) is not None):
                    yield Finding("missing", path, f"{self.name(guid)} has no {kind} any more.",
                                  f"write it anew from {anew[0]}", work=run, still=gone, mend=anew[1])

    def anew(self, guid: str, kind: str, path: Path) -> tuple[str, Callable[[], None]] | None:
        """From what, and how, a file of a model can be written anew; None when that cannot be done."""
        rebuild = self.rebuild(guid) if kind not in ("completion", conversations.KIND) else None
        if rebuild is not None:
            return "its run", partial(self._write, path, rebuild, kind)
        if kind == "config":  # of a run that did not come to its end, or has no checkpoint any more
            with suppress(BabyError):
                config = plans.read(self.root / "runs" / guid / plans.NAME, ["config"])["config"]
                save = partial(artifacts.save_config, self.ws, guid, config)
                return "its run's plan", partial(self._write, path, lambda _: save, kind)
        return None

    def _write(self, path: Path, rebuild: Rebuild, kind: str) -> None:
        """Puts a new file in the place of a damaged one, which moves to the trash when all that is left is to write."""
        write = rebuild(kind)
        if os.path.lexists(path):
            trash.set_aside(self.root, [path], "repair")
        write()

    def settings(self) -> Iterator[Finding]:
        """What the last model was, and the form's values."""
        for read, name in ((self.ws.current, "current.json"), (self.ws.last, "last.json")):
            path = self.ws.settings / name
            try:
                read()
            except BabyError as error:
                if stat.S_ISREG(_mode(path)) and inside(path, self.root):
                    yield Finding("damaged", path, f"{error} The defaults are used.", "move it to the trash",
                                  aside=True, still=partial(_refused, read))
                else:
                    yield Finding("damaged", path, str(error))

    # everything else

    def temporary(self) -> Iterator[Finding]:
        """Files that were being written when a process was killed."""
        for folder in [*(self.root / name for name in (*PATTERNS, "inputs", "settings")), *self._works()]:
            work = next((path for path in (folder, folder.parent) if path.parent in self.places), None)
            if not inside(folder, self.root) or (work and Lock.held(work / "lock")):
                continue
            for path in _listed(folder):
                if self._debris(path):
                    text = f"{shown_path(path.relative_to(self.root))} was being written by a process that was killed."
                    yield Finding("temporary", path, text, "move it to the trash", aside=True, work=work,
                                  still=partial(self._debris, path))

    def _debris(self, path: Path) -> bool:
        return path.name.startswith(".") and self.old(path) and abandoned(path)

    def _works(self) -> Iterator[Path]:
        for name in _WORKS:
            for folder in _listed(self.root / name) if inside(self.root / name, self.root) else ():
                if valid_guid(folder.name) and stat.S_ISDIR(_mode(folder)):
                    yield folder
                    if stat.S_ISDIR(_mode(folder / "checkpoints")):
                        yield folder / "checkpoints"

    def open_folders(self) -> Iterator[Finding]:
        """Folders that are private to the user, and are not."""
        for name in _PRIVATE:
            path = self.root / name
            mode = _mode(path)
            if not stat.S_ISDIR(mode) or not mode & 0o077:
                continue
            can = "change" if mode & 0o022 else "read"
            text = f"Others can {can} {name}/: its mode is {stat.S_IMODE(mode):o}, and should be 700."
            if os.lstat(path).st_uid != os.geteuid():
                yield Finding("open", path, f"{text} It belongs to somebody else.")
            else:
                yield Finding("open", path, text, "make it 700", mend=partial(_close, path))

    def foreign(self) -> Iterator[Finding]:
        """What is not ours in our folders."""
        places = {**PATTERNS, **dict.fromkeys(("settings", "runs", "bakeoffs", ".trash"), _NONE)}
        for name, pattern in places.items():
            folder = self.root / name
            if not inside(folder, self.root):
                if folder.is_symlink() and name != ".trash":
                    yield Finding("foreign", folder, f"{name} is a link that leads out of the workspace; it is not "
                                  "followed.")
                continue
            for path in _listed(folder):
                if not (self._ours(path, name) or pattern.fullmatch(path.name) or path.name in _IGNORED):
                    yield Finding("foreign", path, f"{name}/{shown_path(path.name)} is not ours; it is left alone.")

    def _ours(self, path: Path, place: str) -> bool:
        mode = _mode(path)
        if not mode:
            return True  # gone meanwhile
        if place in _WORKS:
            return stat.S_ISDIR(mode) and (valid_guid(path.name) or path.name.startswith(trash.NEW))
        if place == ".trash":
            return path.name in ("lock", trash.RESERVE) or path.name.startswith(
                (trash.NEW, trash.GONE, trash.ARRIVING, f".{trash.RESERVE}.")) or (
                stat.S_ISDIR(mode) and trash.made(path.name))
        if stat.S_ISREG(mode) and path.name.startswith(".") and path.name.endswith(".tmp"):
            return True  # told before, or somebody is writing it
        if place == "settings" and path.name == PRESETS:
            return stat.S_ISDIR(mode)
        return place in ("settings", "configs", "config") and path.name in _SETTINGS


# --- small things -----------------------------------------------------------------------------------------------------


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing when it cannot be read."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except OSError:
        return []


def _left(path: Path) -> bool:
    """Whether it is what an import that was killed has gathered."""
    folder = path.name.removesuffix(".lock")
    return path.name.startswith(trash.ARRIVING) and not Lock.held(path.with_name(f"{folder}.lock"))


def _mode(path: Path) -> int:
    """What a path is, links not followed; 0 when nothing is there or it cannot be asked."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _refused(check: Callable[[], object]) -> bool:
    """Whether a file is still not what it should be. One that is gone is not refused."""
    try:
        check()
    except NotFound:
        return False
    except BabyError:
        return True
    return False


def _absent(find: Callable[[], object]) -> bool:
    """Whether there is no such file. FormatError when something else has its name."""
    try:
        find()
    except NotFound:
        return True
    return False


def _finish(root: Path, item: trash.Item) -> None:
    with trash.changing(root):
        for now in trash.items(root):
            if now.folder == item.folder and now.state != trash.WHOLE:
                trash.finish(root, now)


def _tidy(root: Path) -> None:
    with trash.changing(root):
        pass  # whoever changes the trash clears away what others began and never will end


def _close(path: Path) -> None:
    os.chmod(path, 0o700)
    if _mode(path) & 0o077:
        raise StoreError(f"{shown_path(path)} cannot be made private: its disk keeps no such permissions.", path)


def _check(ws: Workspace, kind: str, guid: str, path: Path, stamp: str | None, deep: bool) -> None:
    """Nothing when a file of a model can be read. NotFound, StoreError, FormatError. Without `deep`, of a model's file
    only both ends are looked at."""
    name = shown_path(path.name)
    if kind == "config":
        configs.import_config(read_json(path, JSON_LIMIT), name)
    elif kind == "tokenizer":
        artifacts.check_vocabulary(read_json(path, artifacts.TOKENIZER_LIMIT).get("vocab"), None, name)
    elif kind == "report":
        reports.read(path)
    elif kind == "completion":
        artifacts.load_completion(ws, guid, stamp)
    elif kind == conversations.KIND:
        conversations.load(ws, guid)
    elif kind == "adapter":
        if deep:
            adapters.load(path)
        else:
            checkpoint.verify(path, what="an adapter")
    elif kind == "model" and path.suffix != ".pkl":
        if deep:
            model_file.read_model(path)
        else:
            _ends(path)


def _ends(path: Path) -> None:
    """FormatError when a file does not begin and end as an object in JSON does."""
    file, size = open_regular(path, model_file.LIMIT)
    with file:
        try:
            first = file.read(_ENDS).removeprefix(BOM)
            last = os.pread(file.fileno(), _ENDS, max(0, size - _ENDS))
        except OSError as error:
            raise explain(error, path, "read") from error
    if first.lstrip()[:1] != b"{" or last.rstrip()[-1:] != b"}" or b"\0" in first or b"\0" in last:
        raise FormatError(f"{shown_path(path.name)} is not a whole JSON file; it is cut off or damaged.")
