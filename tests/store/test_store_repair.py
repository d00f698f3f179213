"""What is found in a workspace, what is mended, and what is left alone: by somebody who lives, and not ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from killed import killed_at

from engine.config import Config
from engine.errors import FormatError
from store import artifacts, checkpoint, journal, trash
from store.atomic import write_json
from store.examine import examine
from store.lock import Lock
from store.repair import Finding, mend, suspended
from store.workspace import Workspace

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"
END = b'{"event":"end","step":10,"time":1.0}\n'


@pytest.fixture
def ws(tmp_path):
    ws = Workspace(tmp_path / "w").ensure()
    put(ws, A)
    return ws


def put(ws: Workspace, guid: str, end: bytes = END) -> Path:
    """A whole model with a run that has ended; the run's folder."""
    config = Config.read({"n_emb": 8}).to_dict()
    folder = ws.run_dir(guid)
    (folder / "checkpoints").mkdir(parents=True)
    write_json(folder / "plan.json", {"guid": guid, "name": f"name {guid[:2]}", "created": 50.0, "config": config,
                                      "texts": ["a.txt"]})
    artifacts.save_config(ws, guid, config)
    artifacts.save_tokenizer(ws, guid, "char", ["a", "b"])
    artifacts.save_model(ws, guid, {"wte_weight": np.ones((2, 2), np.float32)})
    artifacts.save_report(ws, guid, {"dataset": "a"})
    artifacts.save_completion(ws, guid, {"generation": "a"})
    (folder / "events.jsonl").write_bytes(b'{"event":"start","step":0,"time":1.0}\n' + end)
    (folder / "lock").touch()
    for step in (5, 10):
        checkpoint.write(folder / "checkpoints" / f"step_{step:09}.safetensors", {"p": np.ones(3)},
                         {"step": step, "vocab": ["a", "b"]})
    return folder


def age(path: Path, seconds: float = 3600) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)
    return path


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*"))
            if p.is_file() and ".trash" not in p.parts and p.name != "lock"}


def found(ws: Workspace, **more) -> list[tuple[str, str]]:
    return [(one.kind, one.path.name) for one in examine(ws.root, **more)]


def mended(ws: Workspace) -> list[str]:
    """Mends everything that can be; why what was not."""
    return [why for _, why in mend(ws.root, [one for one in examine(ws.root) if one.remedy]) if why]


def only(ws: Workspace) -> Finding:
    (one,) = examine(ws.root)
    return one


def test_nothing_is_wrong_with_a_whole_workspace(ws):
    put(ws, B)
    ws.save_last(A)
    ws.save_current({"n_emb": 8})
    ws.delete(B)
    (ws.models / ".gitkeep").touch()
    assert examine(ws.root) == [] == examine(ws.root, deep=True)


@pytest.mark.parametrize("place", ["models", "configs", "outputs", "settings", "inputs", f"runs/{A}",
                                   f"runs/{A}/checkpoints"])
def test_temporary_files_of_killed_writers(ws, place):
    left = ws.root / place / ".x.json.0123456789ab.tmp"
    left.write_bytes(b"half")
    assert found(ws) == [], "it may have been made just now"
    age(left)
    (ws.root / place / ".x.json.tmp").touch()  # not of our making
    age(ws.root / place / ".x.json.tmp")
    before = tree(ws.root)
    assert [one for one in found(ws) if one[0] == "temporary"] == [("temporary", left.name)]
    assert mended(ws) == [] and not left.exists()
    assert [one for one in found(ws) if one[0] == "temporary"] == []
    trash.restore(ws.root, trash.find(ws.root, "last").folder)
    assert tree(ws.root) == before


WRITER = """
import os, sys
from pathlib import Path
from store.atomic import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"whole")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_file_that_is_being_written_is_nobodys_debris(ws):
    path = ws.models / "notes.json"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              cwd=Path(__file__).parents[2])
    try:
        assert writer.stdout.readline() == b"writing\n"
        (left,) = [p for p in ws.models.iterdir() if p.name.startswith(".")]
        age(left)
        assert found(ws) == [] and mended(ws) == [] and left.exists()
        writer.stdin.close()
        assert writer.wait(60) == 0 and path.read_bytes() == b"whole"
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
        writer.stdin.close()


def test_debris_of_a_live_run_is_left_to_it(ws):
    left = ws.run_dir(A) / "checkpoints" / ".best.safetensors.0123456789ab.tmp"
    left.touch()
    age(left)
    (finding,) = examine(ws.root)
    with Lock(ws.run_dir(A) / "lock"):
        assert found(ws) == []
        ((_, why),) = mend(ws.root, [finding])  # it was resumed after it was found
        assert "at work" in why and left.exists()
    assert mend(ws.root, [finding])[0][1] == "" and not left.exists()


def test_what_a_start_left_that_was_killed(ws):
    new = ws.runs / ".new-0123456789ab"
    new.mkdir()
    (new / "lock").touch()
    assert found(ws) == []
    age(new)
    with Lock(new / "lock"):
        assert found(ws) == []
    age(new)
    assert found(ws) == [("temporary", new.name)] and mended(ws) == [] and not new.exists() and found(ws) == []


@pytest.mark.parametrize("rest", [b'{"event":"st', b"\0" * 5000, b'{"event":"end","step":11,"time":2.0}'])
@pytest.mark.parametrize("name", ["events.jsonl", "control.jsonl"])
def test_torn_journals(ws, name, rest):
    path = ws.run_dir(A) / name
    with open(path, "ab") as file:
        file.write(rest)
    whole = journal.read(path)[0]
    (finding,) = [one for one in examine(ws.root) if one.kind == "torn"]
    with Lock(ws.run_dir(A) / "lock"):
        assert [one for one in found(ws) if one[0] == "torn"] == []
        assert "at work" in mend(ws.root, [finding])[0][1] and path.read_bytes().endswith(rest)
    assert mend(ws.root, [finding])[0][1] == ""
    after = journal.read(path)[0]
    assert after[:len(whole)] == whole and len(after) == len(whole) + rest.endswith(b"}") and found(ws) == []
    assert "any more" in mend(ws.root, [finding])[0][1], "a second time there is nothing to do"


def test_half_deleted_and_half_restored(ws, monkeypatch):
    put(ws, B)
    before = tree(ws.root)
    real = os.rename

    def dies(at: str):
        def rename(source, target):
            if at in str(source):
                os._exit(9)
            real(source, target)
        return rename

    def killed(at, work):
        child = os.fork()
        if child == 0:
            os.rename = dies(at)
            work()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

    killed(f"configs/config_{A}", lambda: ws.delete(A))
    finding = only(ws)
    assert finding.kind == "half-deleted"
    assert "name aa is half deleted: 3 of its parts are in the trash and 3 are not" in finding.text
    with Lock(ws.trash / "lock"):
        assert examine(ws.root) == [], "somebody is deleting just now"
    assert mended(ws) == [] and examine(ws.root) == []
    assert tree(ws.root) == {path: data for path, data in before.items() if A not in path}
    item = trash.find(ws.root, A)
    killed(f"configs/config_{A}", lambda: trash.restore(ws.root, item.folder))
    assert only(ws).kind == "half-deleted" and "half restored" in only(ws).text
    assert mended(ws) == [] and examine(ws.root) == [] and tree(ws.root) == before


def test_a_delete_that_was_killed_before_it_moved_anything(ws):
    ws.trash.mkdir(0o700)
    new, empty = ws.trash / ".new-0123456789ab", ws.trash / f"20260101000000-{B}"
    for folder in (new, empty):
        (folder / "models").mkdir(parents=True)
        write_json(folder / trash.MANIFEST, {"state": "moving", "pieces": [{"path": "models/x", "was": [1, 1]}]})
    (ws.trash / ".reserve.0123456789ab.tmp").touch()
    before = tree(ws.root)
    assert only(ws).kind == "temporary" and mended(ws) == [] and examine(ws.root) == [] and tree(ws.root) == before
    assert sorted(path.name for path in ws.trash.iterdir()) == ["lock", "reserve"]


def test_a_run_that_died_says_how_to_go_on(ws):
    folder = put(ws, B, end=b'{"event":"step","step":12,"time":1.0}\n')
    for path in (ws.path(kind, B) for kind in ("config", "tokenizer", "model", "report", "completion")):
        path.unlink()
    text = only(ws).text
    assert "died after step 12" in text and "`babytui resume bbbbbbbb` goes on from step 10" in text
    newest = folder / "checkpoints" / "step_000000010.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    died, damaged = examine(ws.root)
    assert "goes on from step 5" in died.text and (damaged.kind, damaged.path) == ("damaged", newest)
    assert mended(ws) == [] and not newest.exists() and "from step 5" in only(ws).text
    (folder / "checkpoints" / "step_000000005.safetensors").write_bytes(b"x")
    assert "begins it again" in examine(ws.root)[0].text
    with Lock(folder / "lock"):
        assert examine(ws.root) == []


def test_checkpoints_of_a_finished_run_are_read_only_when_asked(ws):
    path = ws.run_dir(A) / "checkpoints" / "step_000000005.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert found(ws) == [] and found(ws, deep=True) == [("damaged", path.name)]
    assert checkpoint.verify(path, most=10)["step"] == 5
    path.write_bytes(data[:-1])
    with pytest.raises(FormatError, match="cut off"):
        checkpoint.verify(path, most=10)


@pytest.mark.parametrize("bad", [b"", b"{", b"\0" * 300, b"[1]", b'{"a": 1}' + b"\0" * 20])
@pytest.mark.parametrize("kind", ["config", "tokenizer", "report", "completion", "model"])
def test_damaged_files_of_a_model(ws, kind, bad):
    path = ws.path(kind, A)
    good = path.read_bytes()
    path.write_bytes(bad)
    names = [(one.kind, one.path.name) for one in examine(ws.root)]
    assert names == [("damaged", path.name)], "once, and nothing else"
    finding = only(ws)
    assert "name aa (aaaaaaaa)" in finding.text and path.name in finding.text
    if kind in ("model", "tokenizer"):
        assert not finding.remedy and "babytui delete aaaaaaaa" in finding.text and mended(ws) == []
        path.write_bytes(good)
        assert found(ws) == []
        return
    with Lock(ws.run_dir(A) / "lock"):
        assert found(ws) == [] and "at work" in mend(ws.root, [finding])[0][1]
    path.write_bytes(good)
    assert "any more" in mend(ws.root, [finding])[0][1], "somebody has put a copy there"
    path.write_bytes(bad)
    assert mended(ws) == []
    item = trash.find(ws.root, "last")
    assert (item.folder / path.parent.name / path.name).read_bytes() == bad
    if kind == "config":
        assert artifacts.load_config(ws, A).n_emb == 8 and ws.entry(A).name == "name aa"
    else:
        assert not path.exists()
    assert found(ws) == []


def test_a_model_is_read_whole_when_asked(ws):
    ws.path("model", A).write_bytes(b'{"wte_weight": [[1.0, 2.0], [3.0]]}')
    assert found(ws) == [] and found(ws, deep=True) == [("damaged", ws.path("model", A).name)]


def test_a_config_that_is_gone_is_that_of_the_plan(ws):
    ws.path("config", A).unlink()
    finding = only(ws)
    assert finding.kind == "missing" and "no config any more" in finding.text and "plan" in finding.remedy
    assert mended(ws) == [] and artifacts.load_config(ws, A).n_emb == 8 and found(ws) == []
    ws.path("config", A).unlink()
    ws.path("model", A).unlink()
    assert found(ws) == [], "it may never have come to a model"


CALLS = ("open", "mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "ftruncate", "write", "chmod")


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_repair_that_is_killed_at_any_call_is_done_by_the_next(tmp_path, monkeypatch, after):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    nth = 1
    while True:
        ws = Workspace(tmp_path / str(nth)).ensure()
        put(ws, A)
        good = {kind: ws.path(kind, A).read_bytes() for kind in ("tokenizer", "model")}
        ws.runs.chmod(0o755)
        journal_file = ws.run_dir(A) / "events.jsonl"
        whole = journal_file.read_bytes()
        journal_file.write_bytes(whole + b'{"ev')
        ws.path("config", A).write_bytes(b"{")
        ws.path("report", A).write_bytes(b"[]")
        (ws.models / ".x.json.0123456789ab.tmp").touch()
        age(ws.models / ".x.json.0123456789ab.tmp")
        over = killed_at(nth, after, CALLS, lambda ws=ws: mended(ws))
        for path in [*ws.root.rglob(".*.tmp")]:
            age(path)
        assert mended(ws) == [] and examine(ws.root) == []
        assert journal_file.read_bytes() == whole and ws.runs.stat().st_mode & 0o777 == 0o700
        assert artifacts.load_config(ws, A).n_emb == 8 and not ws.path("report", A).exists()
        assert {kind: ws.path(kind, A).read_bytes() for kind in good} == good
        aside = {Path(path).name: (item.folder / path).read_bytes() for item in trash.items(ws.root)
                 for path in item.inside()}
        assert aside[ws.path("config", A).name] == b"{" and aside[ws.path("report", A).name] == b"[]"
        assert all(item.state == trash.WHOLE for item in trash.items(ws.root))
        if over:
            break
        nth += 1
    assert nth > 30


def test_parts_of_a_model(ws):
    artifacts.save_config(ws, B, {"n_emb": 8})
    artifacts.save_completion(ws, C, {"generation": "x"})
    assert found(ws) == [], "another program may be writing the rest"
    age(ws.path("config", B))
    age(ws.path("completion", C))
    assert found(ws, known=[C]) == [("orphan", ws.path("config", B).name)]
    first = [one for one in examine(ws.root) if B in one.path.name]
    artifacts.save_model(ws, B, {"wte_weight": np.ones((2, 2), np.float32)})
    assert "any more" in mend(ws.root, first)[0][1] and ws.path("config", B).exists()
    ws.path("model", B).unlink()
    assert mended(ws) == [] and not ws.path("config", B).exists() and not ws.path("completion", C).exists()
    assert ws.entry(A).has_model and len(trash.items(ws.root)) == 1
    (ws.runs / C).mkdir()
    age(ws.runs / C)
    assert found(ws) == [("orphan", C)] and mended(ws) == [] and found(ws) == []


def test_a_pickle_is_explained_and_stays(ws):
    path = ws.models / f"model_{B}_all.pkl"
    path.write_bytes(b"x")
    age(path)
    finding = only(ws)
    assert finding.kind == "problem" and "pickle" in finding.text and not finding.remedy


def test_foreign_files_are_told_and_never_touched(ws, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".x.json.0123456789ab.tmp").touch()
    age(outside / ".x.json.0123456789ab.tmp")
    for path in ("models/notes.txt", "runs/readme", "runs/not-a-guid/x", "outputs/report_x.json", ".trash/x",
                 "configs/a/b", "settings/theme.json", "bakeoffs/x"):
        (ws.root / path).parent.mkdir(parents=True, exist_ok=True)
        (ws.root / path).write_text("x")
    os.mkfifo(ws.models / "pipe")
    os.mkfifo(ws.models / ".x.json.0123456789ab.tmp")
    (ws.runs / B).symlink_to(outside)
    (ws.root / "charts").symlink_to(outside)
    (ws.root / "mine.txt").write_text("the workspace itself may hold anything")
    before = tree(ws.root)
    names = found(ws)
    assert {kind for kind, _ in names} == {"foreign", "open"}
    assert {name for kind, name in names if kind == "foreign"} == {
        "notes.txt", "readme", "not-a-guid", "report_x.json", "x", "a", "theme.json", "pipe", B, "charts",
        ".x.json.0123456789ab.tmp"}
    assert mended(ws) == [] and tree(ws.root) == before and len(list(outside.iterdir())) == 1


def test_links_are_not_followed_out(ws, tmp_path):
    """Whoever sends a workspace cannot have files of the person's own moved away."""
    folder, outside = ws.run_dir(A), tmp_path / "outside"
    (folder / "checkpoints").rename(outside)
    (folder / "checkpoints").symlink_to(outside)
    (outside / "step_000000005.safetensors").write_bytes(b"damaged")
    (folder / "events.jsonl").write_bytes(b"")
    left = outside / ".x.json.0123456789ab.tmp"
    left.touch()
    age(left)
    before = tree(outside)
    assert [kind for kind, _ in found(ws, deep=True)] == ["died"]
    ws.runs.rename(tmp_path / "runs")
    ws.runs.symlink_to(tmp_path / "runs")
    assert [(kind, name) for kind, name in found(ws, deep=True) if kind != "problem"] == [("foreign", "runs")]
    assert mended(ws) == [] and tree(outside) == before


def test_folders_that_others_can_read(ws):
    for name, mode in (("runs", 0o755), ("bakeoffs", 0o777), (".trash", 0o750)):
        (ws.root / name).mkdir(exist_ok=True)
        (ws.root / name).chmod(mode)
    texts = [one.text for one in examine(ws.root)]
    assert len(texts) == 3 and "read runs/: its mode is 755" in texts[0] and "change bakeoffs/" in texts[1]
    assert mended(ws) == [] and examine(ws.root) == []
    assert [(ws.root / name).stat().st_mode & 0o777 for name in ("runs", "bakeoffs", ".trash")] == [0o700] * 3


def test_locks_that_are_none(ws):
    lock = ws.run_dir(A) / "lock"
    lock.unlink()
    lock.mkdir()
    assert only(ws).kind == "lock" and mended(ws) == [] and found(ws) == []
    ws.delete(A)


HOLDER = """
import sys, os, signal
from store.lock import Lock
assert Lock(sys.argv[1]).acquire()
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
def test_a_suspended_process_is_named(ws):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(ws.run_dir(A) / "lock")], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        assert holder.stdout.readline() == b"held\n"
        os.waitpid(holder.pid, os.WUNTRACED)
        assert suspended(holder.pid) and f"kill -CONT {holder.pid}" in only(ws).text
        os.kill(holder.pid, signal.SIGCONT)
        os.waitpid(holder.pid, os.WCONTINUED)
        assert not suspended(holder.pid) and examine(ws.root) == []
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()


def test_damaged_settings(ws):
    ws.save_last(A)
    (ws.settings / "last.json").write_bytes(b"{")
    (ws.settings / "current.json").symlink_to("/etc/passwd")
    kinds = found(ws)
    assert ("damaged", "last.json") in kinds
    assert mended(ws) == [] and not (ws.settings / "last.json").exists()
    assert (ws.settings / "current.json").is_symlink()


def test_what_cannot_be_mended_is_said_and_keeps_nothing_else_back(ws, monkeypatch):
    one, two = ws.models / ".x.json.0123456789ab.tmp", ws.configs / ".x.json.0123456789ab.tmp"
    for path in (one, two):
        path.touch()
        age(path)
    real = os.rename

    def rename(source, target):
        if str(source) == str(one):
            raise PermissionError(13, "Permission denied")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    results = mend(ws.root, examine(ws.root))
    assert sorted(bool(why) for _, why in results) == [False, True]
    assert one.exists() and not two.exists() and any("permission" in why for _, why in results)


def test_a_bake_off_that_died(ws):
    folder = ws.root / "bakeoffs" / C
    folder.mkdir(parents=True)
    (ws.root / "bakeoffs").chmod(0o700)
    write_json(folder / "plan.json", {"guid": C, "name": "oven", "created": 1.0,
                                      "architectures": [["mha", "mlp", "pre"], ["gla", "mlp", "pre"]]})
    (folder / "log.jsonl").write_bytes(b'{"event":"begin"}\n')
    (folder / "results.jsonl").write_bytes(b'{"attention":"mha","network":"mlp","sequence":"pre"}\n')
    assert "oven died with 1 of 2 models done; `babytui bakeoff resume cccccccc`" in only(ws).text
    with open(folder / "log.jsonl", "ab") as log:
        log.write(b'{"event":"end","reason":"stopped"}\n')
    assert examine(ws.root) == []


def test_a_look_needs_no_arrays_and_writes_nothing(ws):
    (ws.run_dir(A) / "events.jsonl").write_bytes(b'{"event":"start","step":0,"time":1.0}\n{"ev')
    ws.path("report", A).write_bytes(b"{")
    before = {path: path.stat().st_mtime_ns for path in ws.root.rglob("*")}
    code = ("import sys, pathlib\nfrom store.examine import examine\n"
            f"print(len(examine(pathlib.Path({str(ws.root)!r}))), 'numpy' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "3 False\n", done.stderr
    assert {path: path.stat().st_mtime_ns for path in ws.root.rglob("*")} == before
