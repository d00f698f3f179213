"""The trash: killed at every call, refused at every call, two at once, and what a stranger may have put into it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from killed import killed_at

from engine.errors import BabyError, FormatError, NotFound, RunError
from store import trash
from store.atomic import StoreError, write_json
from store.lock import Lock
from store.workspace import Workspace

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"
CALLS = ("open", "mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "listdir", "write")
MOVES = ("rename", "replace")  # where a delete can be half done


@pytest.fixture(autouse=True)
def no_disk(monkeypatch):
    """Nobody pulls the plug here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def ws(tmp_path):
    return Workspace(tmp_path / "w").ensure()


def put(ws: Workspace, guid: str, run: bool = True, name: str = "") -> None:
    """A whole model, with contents of its own."""
    write_json(ws.path("config", guid), {"n_emb": 32, "babytui_name": name, "babytui_created": 1.0})
    write_json(ws.path("tokenizer", guid), {"vocab": ["a"], "of": guid})
    write_json(ws.path("model", guid), {"wte_weight": [[1.0]], "of": guid})
    write_json(ws.path("report", guid), {"n_epochs": 1, "of": guid})
    if run:
        folder = ws.run_dir(guid)
        (folder / "checkpoints").mkdir(parents=True)
        write_json(folder / "plan.json", {"guid": guid, "name": name, "created": 50.0})
        (folder / "events.jsonl").write_bytes(b'{"event":"x"}\n')
        (folder / "checkpoints" / "1.safetensors").write_bytes(b"1" * 1000)
        (folder / "lock").touch()


def content(ws: Workspace) -> dict[str, bytes]:
    """The files of the workspace by path, without the trash and what the locks hold."""
    return {str(p.relative_to(ws.root)): b"" if p.name == "lock" else p.read_bytes() for p in sorted(ws.root.rglob("*"))
            if p.is_file() and ".trash" not in p.parts}


def trashed(ws: Workspace) -> dict[str, bytes]:
    """The files in the trash under the paths that they had."""
    return {str(Path(*p.relative_to(ws.trash).parts[1:])): b"" if p.name == "lock" else p.read_bytes()
            for p in sorted(ws.trash.glob("*/**/*")) if p.is_file() and p.name != trash.MANIFEST
            and not p.name.endswith(".tmp")}


def places(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# --- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_call_a_delete_is_finished_or_never_began(tmp_path, after):
    nth, seen = 1, set()
    while True:
        ws = Workspace(tmp_path / str(nth)).ensure()
        put(ws, A)
        put(ws, B, run=False)
        before = content(ws)
        over = killed_at(nth, after, CALLS, lambda ws=ws: ws.delete(A))
        mine = {path for path in before if A in path}
        left = content(ws)
        assert not left.keys() & trashed(ws).keys() and {**left, **trashed(ws)} == before, "nothing is lost or doubled"
        assert {path for path in before if B in path} <= left.keys()
        if f"runs/{A}/plan.json" in left:
            assert mine <= left.keys(), "what can go on is moved first"
        state = [item.state for item in trash.items(ws.root)]
        seen.add(tuple(state))
        assert state == ([] if mine <= left.keys() else [trash.WHOLE if not mine & left.keys() else trash.MOVING])
        if mine & left.keys():
            ws.delete(A)  # finishes it
        (item,) = trash.items(ws.root)
        assert item.state == trash.WHOLE and item.guid == A and trashed(ws).keys() == mine
        assert content(ws) == {path: data for path, data in before.items() if B in path}
        trash.restore(ws.root, item.folder)
        assert content(ws) == before and not trash.items(ws.root) and places(ws.trash) == ["lock", "reserve"]
        if over:
            break
        nth += 1
    assert nth > 20 and seen == {(), (trash.MOVING,), (trash.WHOLE,)}


@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_killed_at_every_call_a_restore_is_finished_by_the_next(tmp_path, after):
    nth, seen = 1, set()
    while True:
        ws = Workspace(tmp_path / str(nth)).ensure()
        put(ws, A)
        before = content(ws)
        folder = ws.delete(A).trash
        over = killed_at(nth, after, CALLS, lambda ws=ws, folder=folder: trash.restore(ws.root, folder))
        assert not content(ws).keys() & trashed(ws).keys() and {**content(ws), **trashed(ws)} == before
        states = [item.state for item in trash.items(ws.root)]
        seen.update(states)
        if states and nth % 2:
            trash.restore(ws.root, folder)
        elif states:
            if content(ws):
                ws.delete(A)  # or somebody changes their mind
            (item,) = trash.items(ws.root)
            assert item.state in (trash.WHOLE, trash.RESTORING) and trashed(ws) == before
            trash.restore(ws.root, item.folder)
        assert content(ws) == before and not trash.items(ws.root)
        if over:
            break
        nth += 1
    assert seen == {trash.WHOLE, trash.RESTORING}


@pytest.mark.slow
def test_killed_at_every_call_emptying_goes_on(tmp_path):
    nth = 1
    while True:
        ws = Workspace(tmp_path / str(nth)).ensure()
        put(ws, A)
        put(ws, B)
        old, kept = ws.delete(A), ws.delete(B)
        over = killed_at(nth, False, CALLS, lambda ws=ws, old=old: trash.empty(ws.root, [old.trash]))
        assert [item.guid for item in trash.items(ws.root) if item.guid == B] == [B]
        trash.empty(ws.root, [old.trash])
        assert places(ws.trash) == sorted(["lock", "reserve", kept.trash.name])
        if over:
            break
        nth += 1
    assert nth > 5


@pytest.mark.parametrize("number", [errno.ENOSPC, *(pytest.param(number, marks=pytest.mark.slow)
                                                  for number in (errno.EIO, errno.EACCES, errno.EROFS))])
def test_every_call_refused_once(tmp_path, monkeypatch, number):
    nth, refusals = 1, 0
    while True:
        ws = Workspace(tmp_path / str(nth)).ensure()
        put(ws, A)
        before, count = content(ws), 0

        def counting(real, nth=nth):
            def call(*given, **named):
                nonlocal count
                count += 1
                if count == nth:
                    raise OSError(number, os.strerror(number))
                return real(*given, **named)
            return call

        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, counting(getattr(os, name)))
            try:
                ws.delete(A)
            except BabyError as error:
                refusals += 1
                assert str(error).endswith(".") and "\n" not in str(error)
                patch.undo()
                assert content(ws) == before and not trash.items(ws.root)
        if content(ws):
            assert content(ws) == before
            ws.delete(A)
        (item,) = trash.items(ws.root)
        assert trashed(ws) == before and item.state == trash.WHOLE
        if count < nth:
            break
        nth += 1
    assert refusals > 10


def test_deleting_on_a_full_disk_takes_the_room_that_was_kept_for_it(ws, monkeypatch):
    put(ws, A)
    put(ws, B)
    before = content(ws)
    trash.restore(ws.root, ws.delete(A).trash)
    real = trash.write_json

    def write(path, obj):
        if (ws.trash / trash.RESERVE).exists():
            raise StoreError("The disk is full.", path, errno.ENOSPC)
        real(path, obj)

    def full(path, obj):
        raise StoreError("The disk is full.", path, errno.ENOSPC)

    with monkeypatch.context() as patch:
        patch.setattr(trash, "write_json", write)
        patch.setattr(trash, "_reserve", lambda place: None)
        item = ws.delete(A).trash
        assert not (ws.trash / trash.RESERVE).exists() and trashed(ws).keys() == {p for p in before if A in p}
        patch.setattr(trash, "write_json", full)
        with pytest.raises(StoreError, match="trash empty"):
            ws.delete(B)
        trash.restore(ws.root, item)  # needs no room at all
        assert content(ws) == before
    ws.delete(A)
    assert (ws.trash / trash.RESERVE).stat().st_size > 1 << 16, "there is room again"


def test_a_delete_that_cannot_be_undone_is_found(ws, monkeypatch):
    """The disk goes away in the middle, and with it the way back."""
    put(ws, A)
    before, real, gone = content(ws), os.rename, False

    def rename(source, target):
        nonlocal gone
        gone = gone or "tokenizer" in str(source)
        if gone:
            raise OSError(errno.EIO, "Input/output error")
        return real(source, target)

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="disk reports an error"):
        patch.setattr(os, "rename", rename)
        ws.delete(A)
    (item,) = trash.items(ws.root)
    assert item.state == trash.MOVING and len(item.inside()) == 2
    assert trash.empty(ws.root, [item.folder]) == [], "half of a model is not deleted for good"
    trash.restore(ws.root, item.folder)
    assert content(ws) == before


def half_deleted(ws: Workspace, guid: str, still: str = "tokenizers") -> trash.Item:
    """A delete that was killed when all but one folder's files were moved."""
    for nth in range(1, 500):
        assert not killed_at(nth, False, MOVES, lambda: ws.delete(guid))
        for item in trash.items(ws.root):
            left = {Path(path).parts[0] for path in item.outside(ws.root)}
            if item.state == trash.MOVING and still in left and "models" not in left:
                return item
            trash.restore(ws.root, item.folder)
        with trash.changing(ws.root):
            pass  # clears what was left of it, so that the next attempt makes the same calls
    raise AssertionError("it was never half deleted")


def test_what_is_newer_than_an_interrupted_delete_stays(ws):
    put(ws, A)
    before = content(ws)
    half_deleted(ws, A)
    ws.path("tokenizer", A).write_text('{"vocab": ["somebody", "wrote", "another"]}')
    ws.path("model", A).write_text("{}")
    with trash.changing(ws.root):
        trash.finish(ws.root, trash.items(ws.root)[0])
    (item,) = trash.items(ws.root)
    assert item.state == trash.WHOLE and content(ws).keys() == {f"{kind}s/{kind}_{A}.json" for kind in
                                                               ("tokenizer", "model")}
    with pytest.raises(StoreError, match="already exists"):
        trash.restore(ws.root, item.folder)
    ws.path("tokenizer", A).unlink()
    ws.path("model", A).unlink()
    trash.restore(ws.root, item.folder)
    assert content(ws).keys() == before.keys() - {f"tokenizers/tokenizer_{A}.json"}


def test_a_half_deleted_run_that_somebody_resumed_is_not_taken(ws):
    """Of a bake-off that was killed while it was deleted: its folder goes first, then the runs one by one."""
    put(ws, A)
    put(ws, B)
    own = ws.root / "bakeoffs" / C
    own.mkdir(parents=True)
    (own / "log.jsonl").write_bytes(b"{}\n")
    (own / "lock").touch()

    def delete() -> trash.Deleted:
        return trash.discard(ws.root, C, [own, ws.run_dir(A), ws.run_dir(B)], lambda: ws.files_to_delete([A, B]),
                             kind=trash.BAKE_OFF)

    before = content(ws)
    for nth in range(1, 500):
        assert not killed_at(nth, False, MOVES, delete)
        found = trash.items(ws.root)
        if found and f"runs/{A}" in found[0].inside() and f"runs/{B}" in found[0].outside(ws.root):
            break
        for item in found:
            trash.restore(ws.root, item.folder)
        with trash.changing(ws.root):
            pass  # clears what was left of it, so that the next attempt makes the same calls
    with Lock(ws.run_dir(B) / "lock"):
        with pytest.raises(RunError, match="still training"):
            delete()
        with trash.changing(ws.root), pytest.raises(RunError, match="still training"):
            trash.finish(ws.root, found[0])
    with open(ws.run_dir(B) / "events.jsonl", "ab") as journal:
        journal.write(b'{"event":"y"}\n')  # it learnt more
    with trash.changing(ws.root):
        trash.finish(ws.root, found[0])
    assert ws.run_dir(B).is_dir() and not ws.run_dir(A).exists() and not ws.path("model", A).exists()
    (ws.run_dir(B) / "events.jsonl").write_bytes(b'{"event":"x"}\n')
    trash.restore(ws.root, found[0].folder)
    assert content(ws) == before


# --- several at once --------------------------------------------------------------------------------------------------


def together(works: list[Callable[[], object]]) -> list[int]:
    """Does each in a process of its own, all at the same moment; their exit codes, 1 for what was refused."""
    ready, go = os.pipe()
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            os.close(go)
            try:
                os.read(ready, 1)  # until the parent closes its end
                work()
            except BabyError:
                os._exit(1)
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
                os._exit(2)
            os._exit(0)
        children.append(child)
    os.close(ready)
    os.close(go)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.mark.slow
@pytest.mark.parametrize("run", [True, False])
def test_of_several_that_delete_one_model_one_does(tmp_path, run):
    for number in range(8):
        ws = Workspace(tmp_path / str(number)).ensure()
        put(ws, A, run)
        before = content(ws)
        assert sorted(together([lambda ws=ws: ws.delete(A)] * 4)) == [0, 1, 1, 1]
        (item,) = trash.items(ws.root)
        assert item.state == trash.WHOLE and trashed(ws) == before and not content(ws)
        assert sorted(together([lambda ws=ws, item=item: trash.restore(ws.root, item.folder)] * 4)) == [0, 1, 1, 1]
        assert content(ws) == before


def test_deleting_restoring_and_emptying_at_once_leave_nothing_halfway(tmp_path):
    for number in range(8):
        ws = Workspace(tmp_path / str(number)).ensure()
        put(ws, A)
        put(ws, B)
        folder, before = ws.delete(A).trash, content(ws)

        def back(ws=ws, folder=folder):
            trash.restore(ws.root, folder)

        codes = together([back, lambda ws=ws: ws.delete(B), lambda ws=ws, f=folder: trash.empty(ws.root, [f]), back])
        assert 2 not in codes and codes[1] == 0 and codes[2] == 0
        mine = {path for path in content(ws) if A in path}
        assert len(mine) == (0 if codes[0] and codes[3] else 8)
        assert [(item.guid, item.state) for item in trash.items(ws.root)] == [(B, trash.WHOLE)]
        assert trashed(ws) == before and not list(ws.trash.glob(trash.GONE + "*"))


def test_somebody_who_waits_too_long_is_told(ws, monkeypatch):
    put(ws, A)
    ws.trash.mkdir()
    monkeypatch.setattr(trash, "PATIENCE", 0.0)
    with Lock(ws.trash / "lock"), pytest.raises(RunError, match="Another process has been deleting"):
        ws.delete(A)
    ws.delete(A)


# --- what a stranger may have put there -------------------------------------------------------------------------------


def stranger(ws: Workspace, folder_name: str, pieces: list, **more) -> Path:
    folder = ws.trash / folder_name
    folder.mkdir(parents=True)
    write_json(folder / trash.MANIFEST, {"babytui_trash": 1, "pieces": pieces, **more})
    return folder


def test_a_manifest_leads_nowhere(ws, tmp_path):
    (tmp_path / "secret").write_text("secret")
    put(ws, B)
    paths = ["../secret", str(tmp_path / "secret"), "models/../../secret", "models", "pyproject.toml", "x/y",
             "models//a", "./models/a", "models/\0", 7, None, {"path": 1}, "runs/../models/a"]
    folder = stranger(ws, f"20260101000000-{A}", [{"path": path, "was": [6, 1]} for path in paths] + [7, None, "x"],
                      state="moving", time=1e300, name=["x"], kind="x", guid="../../x")
    (folder / "models").mkdir()
    (folder / "models" / "mine").write_text("x")
    (item,) = trash.items(ws.root)
    assert (item.guid, item.name, item.state, item.inside()) == (A, "", trash.WHOLE, ["models/mine"])
    ws.delete(B)
    assert (tmp_path / "secret").read_text() == "secret"
    for raw in (b"[]", b"{", b"\xff" * 100, b"[" * 100_000, b""):
        (folder / trash.MANIFEST).write_bytes(raw)
        assert [item.guid for item in trash.items(ws.root)] == [B, A]  # then it goes by what lies in it
    assert trash.restore(ws.root, folder) == [ws.models / "mine"] and not folder.exists()


def test_links_in_the_trash_and_of_it(ws, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    put(ws, A)
    item = ws.delete(A).trash
    (item / "models" / "link").symlink_to(outside)
    (ws.trash / f"20260101000000-{B}").symlink_to(outside)
    assert [found.guid for found in trash.items(ws.root)] == [A]
    ws.configs.rmdir()
    ws.configs.symlink_to(outside)
    with pytest.raises(FormatError, match="leads out"):
        trash.restore(ws.root, item)
    trash.empty(ws.root, [item])
    assert places(outside) == ["mine"] and not item.exists()
    for path in sorted(ws.trash.iterdir()):
        path.unlink()
    ws.trash.rmdir()
    ws.trash.symlink_to(outside)
    put_back = ws.path("model", B)
    put_back.write_text("{}")
    for call in (lambda: ws.delete(B), lambda: trash.items(ws.root), lambda: trash.empty(ws.root, [])):
        with pytest.raises(FormatError, match="leads out"):
            call()
    assert places(outside) == ["mine"]


def test_a_folder_that_leads_out_is_not_emptied_by_deleting(ws, tmp_path):
    outside = tmp_path / "outside"
    (outside / C).mkdir(parents=True)
    (outside / C / "plan.json").write_text("{}")
    (ws.root / "bakeoffs").symlink_to(outside)
    with pytest.raises(FormatError, match="leads out"):
        trash.discard(ws.root, C, [ws.root / "bakeoffs" / C], list, kind=trash.BAKE_OFF)
    ws.configs.rmdir()
    ws.configs.symlink_to(outside)
    (outside / "x.json").write_text("secret")
    was = [(outside / "x.json").stat().st_size, (outside / "x.json").stat().st_mtime_ns]
    folder = stranger(ws, f"20260101000000-{A}", [{"path": "configs/x.json", "was": was},
                                                  {"path": "models/mine", "was": [1, 1]}], state="moving")
    (folder / "models").mkdir()
    (folder / "models" / "mine").write_text("x")
    (item,) = trash.items(ws.root)
    assert item.outside(ws.root) == [] and item.state == trash.WHOLE
    with trash.changing(ws.root):
        trash.finish(ws.root, item)
    assert places(outside) == sorted([C, "x.json"]) and places(outside / C) == ["lock", "plan.json"]


def test_the_trash_of_earlier_versions(ws):
    """It had no manifest."""
    put(ws, A)
    before = content(ws)
    item = ws.delete(A).trash
    (item / trash.MANIFEST).unlink()
    (found,) = trash.items(ws.root)
    assert (found.guid, found.state, found.files) == (A, trash.WHOLE, 8) and f"runs/{A}" in found.inside()
    trash.restore(ws.root, found.folder)
    assert content(ws) == before and places(ws.trash) == ["lock", "reserve"]


def test_foreign_things_in_the_trash_stay(ws):
    put(ws, A)
    ws.trash.mkdir()
    (ws.trash / "notes.txt").write_text("x")
    (ws.trash / "folder").mkdir()
    write_json(ws.trash / "folder" / trash.MANIFEST, {})
    (ws.trash / "20260101000000-x").write_text("x")
    ws.delete(A)
    trash.empty(ws.root, [item.folder for item in trash.items(ws.root)])
    assert places(ws.trash) == ["20260101000000-x", "folder", "lock", "notes.txt", "reserve"]
    assert places(ws.trash / "folder") == [trash.MANIFEST]


# --- finding ----------------------------------------------------------------------------------------------------------


def test_what_is_deleted_is_found_by_guid_name_and_last(ws):
    with pytest.raises(NotFound, match="is empty"):
        trash.find(ws.root, "last")
    put(ws, A, name="anna")
    put(ws, A + "_finetuned", run=False)
    put(ws, B)
    tuned, first, second = ws.delete(A + "_finetuned"), ws.delete(A), ws.delete(B)
    put(ws, A, name="anna")
    again = ws.delete(A)
    assert trash.find(ws.root, "last").folder == again.trash == trash.find(ws.root, "anna").folder
    assert trash.find(ws.root, A[:4]).folder == again.trash == trash.find(ws.root, A).folder
    assert trash.find(ws.root, first.trash.name).folder == first.trash
    assert trash.find(ws.root, A[:8] + "_f").folder == tuned.trash
    assert trash.find(ws.root, "BBBB").folder == second.trash
    for wrong in ("zzz", "", "b_f", "../x"):
        with pytest.raises(NotFound, match="nothing called"):
            trash.find(ws.root, wrong)
    put(ws, "aaaaaaaa-0000-4000-8000-00000000000f")
    ws.delete("aaaaaaaa-0000-4000-8000-00000000000f")
    with pytest.raises(NotFound, match="fits 2 things"):
        trash.find(ws.root, "aaaa")
    facts = trash.find(ws.root, B)
    assert facts.files == 8 and facts.bytes == sum(len(data) for path, data in trashed(ws).items() if B in path) + len(
        (second.trash / "runs" / B / "lock").read_bytes())
