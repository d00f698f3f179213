"""Models that travel: what an archive holds, that a stranger's does no harm, and that all of it appears or nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from faults import CODES, Layer, content, descriptors, failing, killed
from historic import GUID, OTHER, VOCAB, dump, newest, put, weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BabyError, FormatError, NotFound, UsageError
from store import archive, artifacts, importing, trash
from store.atomic import StoreError
from store.workspace import Workspace

CONFIG = {**newest("mha", "mlp"), "c_device": "cpu", "babytui_name": "first"}
FILES = {f"configs/config_{GUID}.json", f"tokenizers/tokenizer_{GUID}.json", f"models/model_{GUID}.json"}


@pytest.fixture
def made(tmp_path) -> Workspace:
    """A workspace with one model and everything that belongs to it."""
    ws = put(tmp_path / "w", CONFIG, weights("mha", "mlp"))
    artifacts.save_report(ws, GUID, {"dataset": "cats", "babytui_steps": 5})
    artifacts.save_completion(ws, GUID, {"generation": "abc"})
    artifacts.save_completion(ws, GUID, {"generation": "cab"}, stamped=True)
    return ws


@pytest.fixture
def packed(made, tmp_path) -> Path:
    return archive.write(made, GUID, tmp_path / "model.zip").path


def repacked(path: Path, target: Path, change: Any) -> Path:
    """The archive with its entries changed: change(name, data) gives (name or ZipInfo, data), or None."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if (changed := change(name, old.read(name))) is not None:
                new.writestr(*changed)
    return target


def workspace_of(ws: Workspace) -> dict[str, bytes]:
    """What is in it, but for the trash's own files."""
    return {path: data for path, data in content(ws.root).items() if path not in (".trash/lock", ".trash/reserve")}


# --- there and back ---------------------------------------------------------------------------------------------------

def test_an_archive_holds_every_file_and_their_checksums(made, tmp_path):
    done = archive.write(made, GUID, tmp_path / "a.zip", name="first")
    with zipfile.ZipFile(done.path) as found:
        listed = json.loads(found.read("manifest.json"))
        names = set(found.namelist()) - {"manifest.json"}
        assert names == set(done.files) == set(listed["files"]) >= FILES and len(names) == 6
        assert all(found.read(name) == (made.root / name).read_bytes() for name in names)
    assert listed["guid"] == GUID and done.bytes == done.path.stat().st_size
    sums = subprocess.run(["sha256sum", done.path, *(made.root / name for name in sorted(names))], capture_output=True,
                          text=True, check=True).stdout.split()[::2]
    assert sums == [done.sha256, *(listed["files"][name]["sha256"] for name in sorted(names))]


def test_the_same_files_give_the_same_bytes(made, tmp_path, monkeypatch):
    first = archive.write(made, GUID, tmp_path / "a.zip").path.read_bytes()
    for path in made.root.rglob("*.json"):
        os.utime(path, (1, 1))
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert archive.write(made, GUID, tmp_path / "b.zip").path.read_bytes() == first


def test_there_and_back(made, packed, tmp_path):
    other = Workspace(tmp_path / "other")
    (done,) = importing.bring(other, packed)
    assert done.guid == done.was == GUID and not done.remarks and done.name == "first"
    assert workspace_of(other) == content(made.root)
    assert archive.write(other, GUID, tmp_path / "again.zip").path.read_bytes() == packed.read_bytes()
    (entry,) = other.entries()
    assert entry.has_model and entry.dataset == "cats" and not entry.problems


def test_only_the_model(made, tmp_path):
    assert set(archive.write(made, GUID, tmp_path / "a.zip", only="model").files) == FILES


def test_a_taken_guid_and_name_make_room(made, packed):
    before = content(made.root)
    (done,) = importing.bring(made, packed)
    assert done.guid != GUID and done.was == GUID and done.name == "first 2" and len(done.remarks) == 2
    assert {path: data for path, data in content(made.root).items() if path in before} == before
    assert len(artifacts.load_completions(made, done.guid)) == 2
    assert [entry.name for entry in made.entries()].count("first") == 1
    (third,) = importing.bring(made, packed)
    assert third.name == "first 3" and len(made.entries()) == 3


def test_an_older_style_and_a_finetuned_model_with_its_bases_config(tmp_path):
    ws = put(tmp_path / "old", CONFIG, weights("mha", "mlp"), model="models/{}.weights", configs="config")
    dump(ws.models / f"model_{GUID}_finetuned.json", json.loads((ws.models / f"{GUID}.weights").read_text()))
    shutil.copy(ws.tokenizers / f"tokenizer_{GUID}.json", ws.tokenizers / f"tokenizer_{GUID}_finetuned.json")
    (ws.root / "notes.txt").write_text("not ours")
    (ws.models / f"model_{OTHER}_all.pkl").write_bytes(b"cos\nsystem\n")
    here = Workspace(tmp_path / "here")
    base, tuned = importing.bring(here, ws.root)
    assert (base.guid, tuned.guid) == (GUID, GUID + "_finetuned")
    assert artifacts.load_config(here, tuned.guid).n_heads == CONFIG["n_heads"]
    assert artifacts.load_model(here, GUID).keys() == artifacts.load_model(here, tuned.guid).keys()
    again = importing.bring(here, ws.root)  # both move to one fresh GUID
    assert again[1].guid == again[0].guid + "_finetuned" != tuned.guid
    alone = archive.write(here, tuned.guid, tmp_path / "t.zip").path
    (done,) = importing.bring(Workspace(tmp_path / "third"), alone)
    assert artifacts.load_config(Workspace(tmp_path / "third"), done.guid).n_heads == CONFIG["n_heads"]


def test_a_flat_folder(made, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in made.root.rglob("*.json"):
        shutil.copy(path, flat)
    (done,) = importing.bring(Workspace(tmp_path / "here"), flat)
    assert done.guid == GUID and len(done.files) == 6


def test_nothing_is_overwritten(made, packed, tmp_path):
    old = packed.read_bytes()
    with pytest.raises(StoreError) as caught:
        archive.write(made, GUID, packed, only="model")
    assert caught.value.errno == errno.EEXIST and packed.read_bytes() == old
    archive.write(made, GUID, packed, only="model", overwrite=True)
    assert packed.read_bytes() != old
    with pytest.raises(NotFound):
        archive.write(made, OTHER, tmp_path / "none.zip")
    assert not (tmp_path / "none.zip").exists() and not list(tmp_path.glob(".*"))


# --- strangers --------------------------------------------------------------------------------------------------------

def link(name: str, mode: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    return info


def named(name: str) -> Any:
    return lambda old, data: (name, data) if old.startswith("configs/") else (old, data)


HOSTILE: dict[str, Any] = {
    "traversal": named(f"configs/../../config_{GUID}.json"),
    "absolute": named(f"/configs/config_{GUID}.json"),
    "windows": named(f"configs\\config_{GUID}.json"),
    "elsewhere": named(f"models/config_{GUID}.json"),
    "a run": named(f"runs/{GUID}/plan.json"),
    "hidden": named(".bashrc"),
    "control": named("configs/\x1b[31m.json"),
    "upper": named(f"configs/config_{GUID.upper()}.json"),
    "pickle": lambda old, data: (f"models/model_{GUID}_all.pkl", data) if old.startswith("models/") else (old, data),
    "link": lambda old, data: (link(old), b"/etc/passwd") if old.startswith("tokenizers/") else (old, data),
    "device": lambda old, data: (link(old, stat.S_IFCHR), b"") if old.startswith("tokenizers/") else (old, data),
    "other bytes": lambda old, data: (old, data[:-3] + b" }\n") if old.startswith("models/") else (old, data),
    "missing": lambda old, data: None if old.startswith("outputs/report") else (old, data),
    "no model": lambda old, data: None if old.startswith(("models/", "manifest")) else (old, data),
    "no tokenizer": lambda old, data: None if old.startswith(("tokenizers/", "manifest")) else (old, data),
    "no config": lambda old, data: None if old.startswith(("configs/", "manifest")) else (old, data),
    "manifest": lambda old, data: (old, b"[1]") if old == "manifest.json" else (old, data),
    "manifest of another": lambda old, data: (old, b'{"files": {"a": 3}}') if old == "manifest.json" else (old, data),
    "newer": lambda old, data: (old, data.replace(b'"babytui_archive": 1', b'"babytui_archive": 9')),
    "not its tokenizer": lambda old, data: None if old == "manifest.json" else (
        old, json.dumps({"vocab": VOCAB[:3]}).encode() if old.startswith("tok") else data),
    "not a model": lambda old, data: None if old == "manifest.json" else (
        old, b'{"wte_weight": [1]}' if old.startswith("mod") else data),
    "a config of another": lambda old, data: None if old == "manifest.json" else (
        old, b'{"n_layers": -1}' if old.startswith("conf") else data),
    "depth": lambda old, data: None if old == "manifest.json" else (
        old, b"[" * 5000 if old.startswith("outputs/report") else data),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_what_is_refused_leaves_nothing(packed, tmp_path, change):
    bad = repacked(packed, tmp_path / "bad.zip", HOSTILE[change])
    here = Workspace(tmp_path / "here" / "w")
    with pytest.raises(FormatError) as caught:
        importing.bring(here, bad)
    assert str(caught.value).endswith(".") and str(caught.value).isprintable()
    assert not workspace_of(here) and {path.name for path in here.trash.glob("*")} <= {"lock", "reserve"}
    assert {path.name for path in tmp_path.rglob("*.json")} == {path.name for path in (tmp_path / "w").rglob("*.json")}


def test_without_a_manifest_it_is_said(packed, tmp_path):
    plain = repacked(packed, tmp_path / "p.zip", lambda name, data: None if name == "manifest.json" else (name, data))
    (done,) = importing.bring(Workspace(tmp_path / "here"), plain)
    assert done.guid == GUID and "manifest" in done.remarks[0]


def test_two_of_a_name(packed, tmp_path):
    bad = tmp_path / "bad.zip"
    shutil.copy(packed, bad)
    with zipfile.ZipFile(bad, "a") as added, pytest.warns(UserWarning, match="Duplicate"):
        added.writestr(f"configs/config_{GUID}.json", b"{}")
    with pytest.raises(FormatError, match="twice"):
        importing.bring(Workspace(tmp_path / "here"), bad)


def test_links_in_a_folder_are_not_followed(made, tmp_path):
    secret = tmp_path / "secret.json"
    shutil.move(made.tokenizers / f"tokenizer_{GUID}.json", secret)
    (made.tokenizers / f"tokenizer_{GUID}.json").symlink_to(secret)
    with pytest.raises(FormatError, match="is a link"):
        importing.bring(Workspace(tmp_path / "here"), made.root)
    (made.tokenizers / f"tokenizer_{GUID}.json").unlink()
    shutil.move(made.models, tmp_path / "models")
    made.models.symlink_to(tmp_path / "models")
    with pytest.raises(FormatError, match="no model"):
        importing.bring(Workspace(tmp_path / "here"), made.root)


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + b"\0" * 18, b"not a zip", b"\x1f\x8b" + b"\0" * 90])
def test_what_is_no_archive(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises((UsageError, FormatError)):
        importing.bring(Workspace(tmp_path / "here"), tmp_path / "a.zip")
    with pytest.raises(NotFound):
        importing.bring(Workspace(tmp_path / "here"), tmp_path / "none.zip")


def test_the_trash_that_leads_out_is_not_followed(packed, tmp_path):
    here = Workspace(tmp_path / "here").ensure()
    (tmp_path / "out").mkdir()
    here.trash.symlink_to(tmp_path / "out")
    with pytest.raises(FormatError, match="leads out"):
        importing.bring(here, packed)
    here.trash.unlink()
    shutil.rmtree(here.models)
    here.models.symlink_to(tmp_path / "out")
    with pytest.raises(FormatError, match="leads out"):
        importing.bring(here, packed)
    assert not list((tmp_path / "out").iterdir())


def bomb(path: Path) -> None:
    """400 MB of spaces in 400 kB."""
    info = zipfile.ZipInfo(f"models/model_{GUID}.json")
    info.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as made, made.open(info, "w", force_zip64=True) as file:
        for _ in range(100):
            file.write(b" " * (4 << 20))


def lying(path: Path) -> None:
    """A table that announces 100 bytes, of a model of 64 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        info = zipfile.ZipInfo(f"models/model_{GUID}.json")
        info.compress_type = zipfile.ZIP_DEFLATED
        made.writestr(info, b'{"wte_weight": [[' + b"1," * (32 << 20) + b"1]]}")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24:at + 28] = struct.pack("<I", 100)
    path.write_bytes(data)


def wide(path: Path) -> None:
    """A table of contents of 90 MB, of files that are none."""
    with open(path, "wb") as file:
        entry = b"PK\x01\x02" + b"\0" * 24 + struct.pack("<H", 1) + b"\0" * 16 + b"a"
        size = len(entry) * 2_000_000
        file.write(entry * 2_000_000)
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, size, 0, 0))


@pytest.mark.parametrize("make", [bomb, lying, wide])
def test_a_bomb_takes_neither_memory_nor_disk(tmp_path, make):
    """In a process that may take 64 MiB more than it has."""
    make(tmp_path / "bad.zip")
    code = """if True:
        import resource, sys
        from engine.errors import BabyError
        from store import importing
        from store.workspace import Workspace
        import store.archive, orjson
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20,) * 2)
        try:
            importing.bring(Workspace(sys.argv[2]), sys.argv[1])
        except BabyError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "bad.zip", tmp_path / "here"], capture_output=True,
                          text=True, check=True)
    assert done.stdout.endswith(".\n") and "bad.zip" in done.stdout, done.stderr
    assert not workspace_of(Workspace(tmp_path / "here"))


def test_no_room_is_known_before(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Free(100 << 10))
    with pytest.raises(StoreError, match="has 102,400 left"):
        importing.bring(Workspace(tmp_path / "here"), packed)
    assert not (tmp_path / "here").exists()


class Free:
    def __init__(self, free: int):
        self.free = free


def test_mutated_archives(packed, tmp_path):
    """Whatever is changed, it is refused in a sentence, or what comes in is what was packed."""
    data = packed.read_bytes()
    count = iter(range(10**9))

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), min_size=1, max_size=8),
           st.integers(0, len(data)) | st.none(), st.booleans())
    def run(changes, cut, late):
        bad = bytearray(data)
        for at, value in changes:
            bad[max(0, len(data) - 1200) + at % min(1200, len(data)) if late else at] = value
        path = tmp_path / "m.zip"
        path.write_bytes(bad[:cut])
        here = Workspace(tmp_path / "m" / str(next(count)))
        try:
            found = importing.bring(here, path)
        except BabyError as error:
            assert "\n" not in str(error) and str(error).isprintable() and len(str(error)) < 600
            assert not here.root.exists() or not workspace_of(here)
        else:
            assert [one.was for one in found] == [GUID] and not here.entries()[0].problems

    run()


# --- all of it or nothing ---------------------------------------------------------------------------------------------

@pytest.fixture
def one_moment(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def begin(folder: Path) -> Workspace:
    """A workspace with something of its own in it."""
    ws = put(folder, newest("mha", "mlp"), weights("mha", "mlp", 3), guid=OTHER)
    return ws.ensure()


@pytest.mark.slow
def test_every_call_of_an_import_fails_once(packed, tmp_path, one_moment):
    ws = begin(tmp_path / "count")
    before = workspace_of(ws)
    with Layer() as layer:
        importing.bring(ws, packed)
    after = workspace_of(ws)
    assert len(after) == len(before) + 6
    failed = 0
    for number in range(len(layer.calls)):
        code = CODES[number % len(CODES)]
        ws = begin(tmp_path / f"f{number}")
        open_before = descriptors()
        try:
            with failing(number, code):
                importing.bring(ws, packed)
        except BabyError as error:
            failed += 1
            assert str(error).endswith(".") and "Errno" not in str(error)
            found = {path: data for path, data in workspace_of(ws).items() if not path.startswith(".trash/")}
            assert found in (before, after), f"{layer.calls[number]} ({number}) {error}"
            if found == before:
                importing.bring(ws, packed)
        assert descriptors() == open_before, f"{layer.calls[number - 2:number + 2]} ({number})"
        found = {path: data for path, data in workspace_of(ws).items() if not path.startswith(".trash/")}
        assert found == after, f"{layer.calls[number]} ({number})"
        shutil.rmtree(ws.root)
    assert failed > 20


@pytest.mark.slow
def test_an_import_is_killed_at_any_call(packed, tmp_path, one_moment):
    ws = begin(tmp_path / "count")
    with Layer() as layer:
        importing.bring(ws, packed)
    after = workspace_of(ws)
    whole = 0
    moving = len(layer.calls) // 2
    for number in [*range(0, moving, 5), *range(moving, len(layer.calls))]:
        ws = begin(tmp_path / f"k{number}")
        assert killed(lambda ws=ws: importing.bring(ws, packed), number, "kill")
        arrived = {entry.guid: entry for entry in ws.entries()}
        if (entry := arrived.get(GUID)) is not None and entry.has_model:
            whole += 1
            assert len(entry.files) == 6 and not entry.problems
        else:
            (done,) = importing.bring(ws, packed)
            assert done.guid == GUID
        found = {path: data for path, data in workspace_of(ws).items() if not path.startswith(".trash/")}
        assert found == after, f"{layer.calls[number]} ({number})"
        with trash.changing(ws.root):  # what is left of it is cleared away
            pass
        assert not list(ws.trash.glob(f"{trash.ARRIVING}*"))
        shutil.rmtree(ws.root)
    assert whole > 0


@pytest.mark.parametrize("number", range(0, 60, 7))
def test_an_export_that_fails_leaves_nothing(made, tmp_path, number, one_moment):
    folder = tmp_path / "out"
    folder.mkdir()
    try:
        with failing(number, errno.ENOSPC):
            archive.write(made, GUID, folder / "a.zip")
    except BabyError:
        assert not list(folder.iterdir())
    else:
        assert [path.name for path in folder.iterdir()] == ["a.zip"]
