"""Every call of the operating system fails once, and a process is killed at every one: what is written is whole or as
it was, nothing else is touched, no descriptor is left open, and what went wrong is one sentence."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import CODES, Layer, content, descriptors, failing, is_write, killed, shortened, still

from engine.errors import BabyError
from store import adapters, artifacts, checkpoint, journal
from store.atomic import TEMPORARY, abandoned, make_folder, write_bytes
from store.journal import Journal
from store.lock import Lock
from store.workspace import Workspace

GUID = "00000000-0000-4000-8000-000000000001"
TUNED = GUID + "_finetuned"
WEIGHTS = {"wte_weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), "block_0_ln_1_eps": 1e-5}
META = {"base": {"guid": GUID, "sha256": "a" * 64}, "scale": 1.0, "symbols": []}
FACTORS = {"m.lora_a": np.ones((2, 1), np.float32), "m.lora_b": np.ones((1, 2), np.float32)}
RUN = ("runs", GUID)


def checkpoint_path(ws: Workspace) -> Path:
    return ws.run_dir(GUID) / "checkpoints" / "step_000000001.safetensors"


def save_checkpoint(ws: Workspace, step: int) -> None:
    make_folder(checkpoint_path(ws).parent)
    checkpoint.write(checkpoint_path(ws), {"w": np.full(3000, step, np.float32)}, {"step": step})


# what is done with a workspace; 1 and 2 are two states of the same file
Deed = Callable[[Workspace, int], object]
DEEDS: dict[str, Deed] = {
    "config": lambda ws, n: artifacts.save_config(ws, GUID, {"n_layers": n, "r_learn": 0.1}, {"model_params": n}),
    "tokenizer": lambda ws, n: artifacts.save_tokenizer(ws, GUID, "char", ["a", "b", "ä"][:n]),
    "model": lambda ws, n: artifacts.save_model(ws, GUID, {**WEIGHTS, "wpe_weight": np.full((70, 40), n / 3)}),
    "adapter": lambda ws, n: adapters.save(ws, TUNED, {k: v * n for k, v in FACTORS.items()}, {}, META),
    "report": lambda ws, n: artifacts.save_report(ws, GUID, {"dataset": "ä" * n, "babytui_steps": n}),
    "completion": lambda ws, n: artifacts.save_completion(ws, GUID, {"generation": "x" * n}),
    "reply": lambda ws, n: artifacts.save_completion(ws, GUID, {"generation": "y" * n}, stamped=True),
    "checkpoint": save_checkpoint,
    "current": lambda ws, n: ws.save_current({"n_layers": n}),
    "last": lambda ws, n: ws.save_last(GUID, "prompt" * n),
    "name": lambda ws, n: ws.rename(GUID, f"name {n}"),
    "large": lambda ws, n: write_bytes(ws.inputs / "a.txt", bytes([n]) * 300_000),
}


@pytest.fixture(autouse=True)
def one_moment(monkeypatch):
    """The same bytes each time; and nothing waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)


def furnished(root: Path) -> Workspace:
    """A workspace with a model, a run and settings."""
    ws = Workspace(root).ensure()
    ws.run_dir(GUID).mkdir(mode=0o700)
    write_bytes(ws.run_dir(GUID) / "plan.json", b'{"name": "first", "created": 5}')
    for name in ("config", "tokenizer", "model", "report", "completion"):
        DEEDS[name](ws, 1)
    ws.save_last(GUID)
    return ws


def checked(root: Path, before: dict[str, bytes], after: dict[str, bytes], *, crash: bool) -> dict[str, bytes]:
    """What is in the workspace: every file as before or as after, and besides only what a crash may leave."""
    found = content(root)
    for path in [path for path in found if TEMPORARY.fullmatch(os.path.basename(path))]:
        assert crash and abandoned(root / path), f"{path} is left"
        assert os.path.join(os.path.dirname(path), str(TEMPORARY.fullmatch(os.path.basename(path))[1])) in after
        del found[path]
    for path in {**before, **after, **found}:
        assert found.get(path) in (before.get(path), after.get(path)), f"{path} is neither old nor new"
    return found


def folders(root: Path) -> list[str]:
    return sorted(path for path, _, _ in os.walk(root))


def is_sentence(error: BabyError) -> bool:
    text = str(error)
    return text.endswith(".") and "\n" not in text and "Errno" not in text and len(text) < 400


class Trial:
    """A deed, what a workspace holds before and after it, and the calls that it makes."""

    def __init__(self, folder: Path, deed: Deed, fresh: bool):
        self.folder, self.deed, self.fresh, self.count = folder, deed, fresh, 0
        self.before = content(self.prepared().root)
        ws = self.prepared()
        with Layer() as layer:
            deed(ws, 2)
        self.calls, self.after = layer.calls, content(ws.root)
        assert self.before != self.after and len(self.calls) >= 6

    def prepared(self) -> Workspace:
        """A new workspace as it is before; fresh: without what the deed replaces."""
        self.count += 1
        ws = furnished(self.folder / str(self.count))
        if not self.fresh:
            self.deed(ws, 1)
        return ws

    def again(self, ws: Workspace) -> None:
        """What failed succeeds when it is tried again."""
        self.deed(ws, 2)
        found = checked(ws.root, {}, {**content(ws.root), **self.after}, crash=True)
        assert {path: found[path] for path in self.after} == self.after


def some(cases: Iterable[Any], *quick: Any) -> list[Any]:
    """Cases for parametrize: all but the quick ones are slow, as each of their calls takes a process of its own."""
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]


@pytest.mark.parametrize("fresh", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["fresh", "over"])
@pytest.mark.parametrize("name", some(DEEDS, "model", "checkpoint", "report", "config"))
def test_every_call_fails_once(tmp_path, name, fresh):
    trial = Trial(tmp_path, DEEDS[name], fresh)
    ws, found = trial.prepared(), trial.before
    there = folders(ws.root)
    for number, call in enumerate(trial.calls):
        for code in CODES:
            if found != trial.before or folders(ws.root) != there:
                ws = trial.prepared()
            open_before = descriptors()
            with failing(number, code) as layer:
                try:
                    trial.deed(ws, 2)
                    error = None
                except BabyError as caught:
                    error = caught
            where = f"{call} ({number} of {trial.calls}), {errno.errorcode[code]}: {error}"
            assert len(layer.calls) > number, where
            assert descriptors() == open_before, where
            found = checked(ws.root, trial.before, trial.after, crash=call == "unlink")
            assert error is not None or found == trial.after, where
            assert error is None or is_sentence(error), where
            if code == CODES[number % len(CODES)]:
                trial.again(ws)
                found = trial.after


@pytest.mark.parametrize("name", DEEDS)
def test_a_short_write_is_gone_on_with(tmp_path, name):
    trial = Trial(tmp_path, DEEDS[name], fresh=False)
    numbers = [number for number, call in enumerate(trial.calls) if is_write(call)]
    assert numbers
    for number in numbers:
        ws = trial.prepared()
        with shortened(number):
            trial.deed(ws, 2)
        assert content(ws.root) == trial.after


@pytest.mark.parametrize("fresh", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["fresh", "over"])
@pytest.mark.parametrize("name", some(DEEDS, "checkpoint"))
def test_a_process_is_killed_at_every_call(tmp_path, name, fresh):
    trial = Trial(tmp_path, DEEDS[name], fresh)
    whole = 0
    for number, call in enumerate(trial.calls):
        ways = ["kill"] + ["torn"] * is_write(call) + ["killed"] * (number + 1 == len(trial.calls))
        for how in ways:
            ws = trial.prepared()
            assert killed(lambda ws=ws: trial.deed(ws, 2), number, how), f"{call} ({number}) was not reached"
            found = checked(ws.root, trial.before, trial.after, crash=True)
            whole += found == trial.after
            trial.again(ws)
    assert whole > 0  # the last of them came too late


# --- the journal ------------------------------------------------------------------------------------------------------

OLD = [{"event": "start", "step": 0, "time": 1.5, "text": "ä" * 40},
       *({"event": "step", "step": n} for n in range(1, 90))]
LINES = [{"event": "step", "step": n, "text": "ö" * (n % 50)} for n in range(90, 200)]


def begun(path: Path, torn: bytes = b"") -> None:
    """A journal with some lines, the last of which may be torn."""
    path.parent.mkdir(parents=True)
    with Journal(path) as out:
        for line in OLD:
            out.append(line)
    with open(path, "ab") as file:
        file.write(torn)


def appended(path: Path) -> None:
    """Adds all LINES in three parts."""
    with Journal(path) as out:
        for part in (LINES[:40], LINES[40:41], LINES[41:]):
            for line in part:
                out.append(line)
            out.flush(sync=True)


TORN = [b"", b'{"event":"st', b'{"event":"alarm"}', b"\0" * 700]


def kept(torn: bytes) -> list[dict[str, Any]]:
    return [{"event": "alarm"}] if torn.endswith(b"}") else []


@pytest.mark.parametrize("torn", TORN)
def test_a_journal_keeps_its_lines_when_a_call_fails(tmp_path, torn):
    """The writer goes on after each failure, as a run does, and at the end every line is there once."""
    begun(tmp_path / "count" / "events.jsonl", torn)
    with Layer() as layer:
        appended(tmp_path / "count" / "events.jsonl")
    for number, call in enumerate(layer.calls):
        for code in CODES:
            path = tmp_path / f"{number}-{code}" / "events.jsonl"
            begun(path, torn)
            open_before = descriptors()
            errors: list[BabyError] = []

            def tried(do: Callable[[], object], errors: list[BabyError] = errors, path: Path = path) -> None:
                for _ in range(2):
                    try:
                        do()
                        return
                    except BabyError as error:
                        errors.append(error)
                        lines = journal.read(path)[0]
                        assert lines == [*OLD, *kept(torn), *LINES][:len(lines)] and len(lines) >= len(OLD)
                raise AssertionError("it failed twice")

            with failing(number, code):
                made: list[Journal] = []
                tried(lambda made=made, path=path: made.append(Journal(path)))
                out = made[0]
                for part in (LINES[:40], LINES[40:41], LINES[41:]):
                    for line in part:
                        out.append(line)
                    tried(lambda out=out: out.flush(sync=True))
                try:
                    out.close()
                except BabyError as error:
                    errors.append(error)
                except OSError:
                    assert call == "close"
            where = f"{call} ({number}) {errno.errorcode[code]} {errors}"
            assert journal.read(path)[0] == [*OLD, *kept(torn), *LINES], where
            assert descriptors() == open_before, where
            assert len(errors) <= 1 and all(map(is_sentence, errors)), where


@pytest.mark.slow
@pytest.mark.parametrize("torn", TORN)
def test_a_journal_whose_writer_is_killed_is_whole_up_to_some_line(tmp_path, torn):
    begun(tmp_path / "count" / "events.jsonl", torn)
    with Layer() as layer:
        appended(tmp_path / "count" / "events.jsonl")
    everything = [*OLD, *kept(torn), *LINES]
    for number, call in enumerate(layer.calls):
        for how in ["kill", *(["torn"] if is_write(call) else [])]:
            path = tmp_path / f"{number}-{how}" / "events.jsonl"
            begun(path, torn)
            before, offset = journal.read(path)
            assert killed(lambda path=path: appended(path), number, how)
            seen, _ = journal.read(path, offset)
            assert [*before, *seen] == everything[:len(before) + len(seen)]
            with Journal(path) as out:
                out.append({"event": "end"})
            lines = journal.read(path)[0]
            assert lines[-1] == {"event": "end"} and lines[:-1] == everything[:len(lines) - 1]
            assert len(lines) > len(before) + len(seen)
            assert path.read_bytes().count(b"\n") == len(lines)


def thinned(path: Path) -> None:
    journal.thin(path, lambda line: line["event"] != "step" or line["step"] % 16 == 0, recent=300)


@pytest.mark.slow
def test_thinning_that_fails_or_is_killed_leaves_the_old_journal_or_the_new(tmp_path):
    first = tmp_path / "count" / "events.jsonl"
    begun(first)
    appended(first)
    _, middle = journal.read(first, 0, limit=3000)
    before = first.read_bytes()
    rest = [line["step"] for line in journal.read(first, middle)[0]]
    with Layer() as layer:
        thinned(first)
    after = first.read_bytes()
    left = [line["step"] for line in journal.read(first, middle)[0]]
    assert len(after) < len(before) / 2 and set(left) < set(rest)
    for number, call in enumerate(layer.calls):
        fates: list[Any] = [*CODES, "kill", *(["torn"] if is_write(call) else [])]
        for fate in fates:
            path = tmp_path / f"{number}-{fate}" / "events.jsonl"
            begun(path)
            path.write_bytes(before)
            open_before = descriptors()
            if isinstance(fate, str):
                assert killed(lambda path=path: thinned(path), number, fate)
            else:
                with failing(number, fate):
                    try:
                        thinned(path)
                    except BabyError as error:
                        assert is_sentence(error)
                    except OSError:
                        assert call == "close"
            assert descriptors() == open_before
            checked(path.parent, {path.name: before}, {path.name: after}, crash=isinstance(fate, str))
            assert [line["step"] for line in journal.read(path, middle)[0]] in (rest, left)
            thinned(path)
            assert path.read_bytes() == after


# --- folders, modes, moves --------------------------------------------------------------------------------------------

def test_folders_that_cannot_be_made_are_said_so_and_left_out(tmp_path):
    (tmp_path / "count").mkdir()
    with Layer() as layer:
        make_folder(tmp_path / "count" / "a" / "b", 0o700)
    for number in range(len(layer.calls)):
        for code in CODES:
            root = tmp_path / f"{number}-{code}"
            root.mkdir()
            open_before = descriptors()
            with failing(number, code):
                try:
                    make_folder(root / "a" / "b", 0o700)
                except BabyError as error:
                    assert is_sentence(error)
                else:
                    assert stat.S_IMODE((root / "a" / "b").stat().st_mode) == 0o700
            assert descriptors() == open_before
            make_folder(root / "a" / "b", 0o700)
            assert stat.S_IMODE((root / "a" / "b").stat().st_mode) == 0o700


def test_a_reply_is_saved_once_even_where_folders_cannot_be_synced(tmp_path):
    """An error after the file has its name is no reason to write it under the next one as well."""
    ws = furnished(tmp_path)
    synced = []

    def no_folders(number: int, name: str) -> OSError | None:
        synced.append(name)
        return OSError(errno.EIO, "x") if name == "fsync" and synced.count("fsync") > 1 else None

    with Layer(no_folders), pytest.raises(BabyError, match="error"):
        artifacts.save_completion(ws, GUID, {"generation": "y"}, stamped=True)
    assert len(ws.completions(GUID)) == 2


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_file_system_without_links_is_written_to_all_the_same(tmp_path, code):
    def no_links(number: int, name: str) -> OSError | None:
        return OSError(code, os.strerror(code)) if name == "link" else None

    with Layer(no_links):
        write_bytes(tmp_path / "a", b"1", overwrite=False)
        with pytest.raises(BabyError, match="already exists"):
            write_bytes(tmp_path / "a", b"2", overwrite=False)
    assert content(tmp_path) == {"a": b"1"}


# --- reading ----------------------------------------------------------------------------------------------------------

READS: dict[str, Callable[[Workspace], Any]] = {
    "config": lambda ws: artifacts.load_config(ws, GUID).to_dict(),
    "tokenizer": lambda ws: artifacts.load_vocabulary(ws, GUID),
    "model": lambda ws: [np.asarray(value).tolist() for value in artifacts.load_model(ws, GUID).values()],
    "shapes": lambda ws: artifacts.load_shapes(ws, GUID),
    "report": lambda ws: artifacts.load_report(ws, GUID),
    "completion": lambda ws: artifacts.load_completion(ws, GUID),
    "adapter": lambda ws: adapters.load(ws.path("adapter", TUNED)).meta,
    "checkpoint": lambda ws: checkpoint.read(checkpoint_path(ws))[1],
    "current": lambda ws: ws.current(),
    "last": lambda ws: ws.last(),
    "journal": lambda ws: journal.read(ws.run_dir(GUID) / "events.jsonl"),
    "tail": lambda ws: journal.tail_with_offset(ws.run_dir(GUID) / "events.jsonl", 5),
    "torn": lambda ws: journal.torn(ws.run_dir(GUID) / "events.jsonl"),
    "exact": lambda ws: ws.resolve("last"),
}


@pytest.mark.parametrize("name", READS)
def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path, name):
    ws = furnished(tmp_path)
    for deed in ("adapter", "checkpoint", "current"):
        DEEDS[deed](ws, 1)
    with Journal(ws.run_dir(GUID) / "events.jsonl") as out:
        for line in OLD:
            out.append(line)
    before = content(tmp_path)
    with Layer() as layer:
        right = READS[name](ws)
    refused = 0
    for number, call in enumerate(layer.calls):
        for code in CODES:
            open_before = descriptors()
            with failing(number, code):
                try:
                    assert READS[name](ws) == right or name == "exact"
                except BabyError as error:
                    refused += 1
                    assert is_sentence(error), (call, error)
            assert descriptors() == open_before, call
    assert refused and content(tmp_path) == before


def test_a_list_shows_what_can_be_read(tmp_path):
    """One file that the disk does not give out hides no other, and no entry."""
    ws = furnished(tmp_path)
    other = GUID[:-1] + "2"
    artifacts.save_config(ws, other, {"n_layers": 1})
    artifacts.save_model(ws, other, WEIGHTS)
    with Layer() as layer:
        assert {entry.guid for entry in ws.entries()} == {GUID, other}
    for number in range(len(layer.calls)):
        for code in CODES:
            open_before = descriptors()
            with failing(number, code) as failed:
                entries = ws.entries()
            assert descriptors() == open_before
            if failed.calls[number] != "scandir":  # then a whole folder is not to be seen
                assert {entry.guid for entry in entries} == {GUID, other}
            assert all(problem.endswith(".") and "Errno" not in problem for e in entries for problem in e.problems)


def test_a_lock_that_fails_is_not_held(tmp_path):
    with Layer() as layer:
        lock = Lock(tmp_path / "lock")
        assert lock.acquire()
        assert Lock.held(tmp_path / "lock") and Lock.owner(tmp_path / "lock") == os.getpid()
        lock.release()
    for number in range(len(layer.calls)):
        for code in CODES:
            open_before = descriptors()
            lock = Lock(tmp_path / "lock")
            with failing(number, code):
                try:
                    taken = lock.acquire()
                    Lock.held(tmp_path / "lock")
                except BabyError as error:
                    assert is_sentence(error)
                    taken = False
            assert Lock.held(tmp_path / "lock") == taken
            lock.release()
            assert descriptors() == open_before and not Lock.held(tmp_path / "lock")


def test_a_journal_whose_torn_end_cannot_be_cut_off_is_gone_on_with_all_the_same(tmp_path):
    """The disk takes some bytes, then neither more nor fewer; meanwhile nobody, another writer or a thinner is there.
    Every line is there once, wherever it broke off."""
    lines = [{"event": "step", "step": n} for n in (901, 902)]
    text = b"".join(b'{"event":"step","step":%d}\n' % line["step"] for line in lines)
    for taken in sorted({*range(1, len(text), 4), 18, 26, 27, 28, 29, len(text) - 2, len(text) - 1}):
        for meanwhile in ("nobody", "a writer", "a thinner", "a repair"):
            path = tmp_path / f"{taken}-{meanwhile}" / "events.jsonl"
            begun(path)
            out = Journal(path)
            for line in lines:
                out.append(line)
            real, left = os.write, [taken]

            def full(descriptor: int, data: Any, real: Any = real, left: list[int] = left) -> int:
                if not left:
                    raise OSError(errno.ENOSPC, "x")
                return int(real(descriptor, bytes(data[:left.pop()])))

            def refused(*_: object) -> None:
                raise OSError(errno.EIO, "x")

            with still(os, write=full, ftruncate=refused), pytest.raises(BabyError, match="disk is full"):
                out.flush()
            assert path.read_bytes().endswith(text[:taken])
            other = {"event": "alarm"}
            if meanwhile == "a writer":
                journal.append(path, other)
            elif meanwhile == "a thinner":
                assert journal.thin(path, lambda line: line["step"] in (0, 901, 902), recent=0) > 0
            elif meanwhile == "a repair":
                journal.repair(path)
            out.append({"event": "end"})
            out.close()
            found = [line for line in journal.read(path)[0] if line not in OLD and line != other]
            assert found == [*lines, {"event": "end"}], (taken, meanwhile)
