"""What may be on the disk after the power was cut: the calls of a process are recorded, and from them every state is
derived that a file system may be found in after any of them.

Until a file is synced its last bytes may be there, or not, or be NULs, or be there in part. Until a folder is synced
any of the names that were made, changed or removed in it may be so, or not yet; syncing a file does not sync its name.
A rename is never done by halves: all file systems in use have journals for that.
"""

from __future__ import annotations

import fcntl
import os
import random
import threading
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from faults import WRITES, Layer

Tree = dict[str, bytes]  # path → content


class Recorder(Layer):
    """Records what is done below `root`, whose content counts as being on the disk before."""

    def __init__(self, root: Path, *, everyone: bool = False):
        super().__init__(everyone=everyone)
        self._one_by_one = threading.RLock()
        self.root, self.log = root, list[tuple[Any, ...]]()
        self._ids: dict[tuple[int, int], int] = {}
        self.files: dict[int, bytes] = {}
        self.folders: dict[int, dict[str, int]] = {}
        self._last = 0
        self._scan(root)  # its number is 1

    def _scan(self, path: Path) -> int:
        number = self._new(os.lstat(path))
        if path.is_dir():
            self.folders[number] = {child.name: self._scan(child) for child in sorted(path.iterdir())}
        else:
            self.files[number] = path.read_bytes()
        return number

    def _new(self, status: os.stat_result) -> int:
        self._last += 1
        self._ids[status.st_dev, status.st_ino] = self._last
        return self._last

    def _id(self, what: Any) -> int | None:
        """The number of a path, or of a descriptor."""
        try:
            status = self._real["fstat"](what) if isinstance(what, int) else self._real["lstat"](what)
        except OSError:
            return None
        return self._ids.get((status.st_dev, status.st_ino))

    def note(self, value: Any) -> None:
        """What somebody was told at this moment."""
        self.log.append(("note", value))

    def call(self, name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if name == "flock":  # which may have to wait
            return super().call(name, real, *args, **kwargs)
        with self._one_by_one:
            return self._recorded(name, real, *args, **kwargs)

    def _recorded(self, name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before, descriptor = None, -1
        if name in (*WRITES, "file write"):
            descriptor = real.__self__.fileno() if name == "file write" else args[0]
            data = bytes(memoryview(args[0 if name == "file write" else 1]).cast("B"))
            if name == "pwrite":
                before = args[2]
            elif fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
                before = self._real["fstat"](descriptor).st_size
            else:
                before = os.lseek(descriptor, 0, os.SEEK_CUR)
        elif name == "open":
            before = os.O_CREAT & args[1] and not os.path.lexists(args[0])
        elif name in ("rename", "replace", "unlink", "rmdir", "link"):
            before = self._id(args[0])
        found = super().call(name, real, *args, **kwargs)
        if name in (*WRITES, "file write"):
            self._add("write", self._id(descriptor), before, data[:found])
        elif name == "ftruncate":
            self._add("truncate", self._id(args[0]), args[1])
        elif name == "fsync":
            self._add("sync", self._id(args[0]))
        elif name == "open" and before:
            self._entry((args[0], self._new(self._real["fstat"](found))))
        elif name == "mkdir":
            number = self._new(self._real["lstat"](args[0]))
            self.folders[number] = {}
            self._entry((args[0], number))
        elif name in ("rename", "replace"):
            self._entry((args[1], before), (args[0], None))
        elif name == "link":
            self._entry((args[1], before))
        elif name in ("unlink", "rmdir"):
            self._entry((args[0], None))
        return found

    def _add(self, *step: Any) -> None:
        if step[1] is not None:
            self.log.append(step)

    def _entry(self, *changes: tuple[Any, int | None]) -> None:
        """Names that change at once: (path, number of what has it from now on)."""
        told = [(self._id(os.path.dirname(os.path.abspath(path))), os.path.basename(path), number)
                for path, number in changes]
        if all(folder is not None for folder, _, _ in told):
            self.log.append(("entry", told))


def states(recorder: Recorder) -> Iterator[tuple[list[Any], bool, Tree]]:
    """Every state the disk may be in after any step: what had been told until then, whether that was the last step, and
    the files. No state twice."""
    seen = set()
    for stop in range(len(recorder.log) + 1):
        log = recorder.log[:stop]
        told, over = _told(log), stop == len(recorder.log)
        for lost in _choices(_pending(log)):
            for policy in POLICIES:
                tree = _tree(recorder, log, lost, policy)
                key = (over, len(told), tuple(sorted(tree.items())))
                if key not in seen:
                    seen.add(key)
                    yield told, over, tree


def some_state(recorder: Recorder, stop: int, dice: random.Random) -> tuple[list[Any], Tree]:
    """One of the states after so many steps, for those who have too many to try all."""
    log = recorder.log[:stop]
    lost = {at for at in _pending(log) if dice.random() < 0.5}
    return _told(log), _tree(recorder, log, lost, dice.choice(POLICIES))


def _told(log: list[tuple[Any, ...]]) -> list[Any]:
    return [step[1] for step in log if step[0] == "note"]


def _synced(log: list[tuple[Any, ...]]) -> dict[int, int]:
    return {step[1]: at for at, step in enumerate(log) if step[0] == "sync"}


def _pending(log: list[tuple[Any, ...]]) -> list[int]:
    """The changes of names that may be lost: none of their folders was synced afterwards."""
    synced = _synced(log)
    return [at for at, step in enumerate(log) if step[0] == "entry"
            and not any(synced.get(folder, -1) > at for folder, _, _ in step[1])]


def _tree(recorder: Recorder, log: list[tuple[Any, ...]], lost: set[int], policy: str) -> Tree:
    folders = {number: dict(names) for number, names in recorder.folders.items()}
    for at, step in enumerate(log):
        if step[0] == "entry" and at not in lost:
            for folder, name, number in step[1]:
                if number is None:
                    folders[folder].pop(name, None)
                else:
                    folders[folder][name] = number
    tree: Tree = {}
    _walk("", 1, folders, _contents(recorder, log, _synced(log), policy), tree)
    return tree


def _choices(pending: list[int]) -> Iterator[set[int]]:
    """Which of some names that are not on the disk yet may be lost: any, or of many: none, all, one, all but one."""
    if len(pending) <= 5:
        sizes = range(len(pending) + 1)
    else:
        sizes = [0, 1, len(pending) - 1, len(pending)]  # type: ignore[assignment]
    for size in sizes:
        yield from map(set, combinations(pending, size))


POLICIES = ("none", "all", "zeros", "half", "first lost")


def _contents(recorder: Recorder, log: list[tuple[Any, ...]], synced: dict[int, int], policy: str) -> dict[int, bytes]:
    files = {number: bytearray(data) for number, data in recorder.files.items()}
    doubtful: dict[int, list[tuple[Any, ...]]] = {}
    for at, step in enumerate(log):
        if step[0] in ("write", "truncate"):
            if synced.get(step[1], -1) > at:
                _apply(files, step)
            else:
                doubtful.setdefault(step[1], []).append(step)
    for steps in doubtful.values():
        for place, step in enumerate(steps):
            if policy == "zeros" or (policy == "first lost" and place == 0):
                step = step if step[0] == "truncate" else (*step[:3], bytes(len(step[3])))
            elif policy == "half":
                if place > len(steps) // 2:
                    continue
                if place == len(steps) // 2 and step[0] == "write":
                    step = (*step[:3], step[3][:len(step[3]) // 2])
            elif policy == "none":
                continue
            _apply(files, step)
    return {number: bytes(data) for number, data in files.items()}


def _apply(files: dict[int, bytearray], step: tuple[Any, ...]) -> None:
    data = files.setdefault(step[1], bytearray())
    if step[0] == "truncate":
        del data[step[2]:]
        data.extend(bytes(step[2] - len(data)))
    else:
        start, new = step[2], step[3]
        data.extend(bytes(max(0, start - len(data))))
        data[start:start + len(new)] = new


def _walk(path: str, number: int, folders: dict[int, dict[str, int]], files: dict[int, bytes], tree: Tree) -> None:
    for name, child in folders[number].items():
        if child in folders:
            _walk(f"{path}{name}/", child, folders, files, tree)
        else:
            tree[path + name] = files.get(child, b"")
