"""A whole workspace that somebody else packed: links, pipes, depths and lies in it.

Commands end in sentences, and nothing outside of it is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_seeds import CORPUS
from fuzz_targets import BASE
from historic import GUID, OTHER, newest, put, weights

from babytui import bakeoff, runs
from babytui.checkpoints import Checkpoints
from babytui.process import last_words
from engine.errors import BabyError, FormatError, NotFound, RunError
from store import checkpoint
from store.lock import Lock
from store.workspace import Workspace

pytestmark = pytest.mark.usefixtures("no_gpu")
PLAN = json.loads((CORPUS / "plan" / "run").read_bytes())


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's that has nothing to do with the workspace."""
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    (folder / "profile").write_text("export HOME\n")
    (folder / "deep" / "step_000000001.safetensors").write_text("a family photo")
    (folder / "plan.json").write_text(json.dumps(PLAN))
    return folder


def state(folder: Path) -> dict[str, Any]:
    """All there is in a folder: names, kinds, contents and times of change."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A workspace with a model, and a run that somebody else began."""
    ws = put(tmp_path / "w", newest("mha", "mlp"), weights("mha", "mlp"))
    ws.ensure()
    run = ws.run_dir(BASE)
    run.mkdir(mode=0o777)
    (run / "plan.json").write_text(json.dumps(PLAN))
    (run / "events.jsonl").write_bytes((CORPUS / "events" / "torn").read_bytes())
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "step_000000003.safetensors").write_bytes((CORPUS / "checkpoint" / "step").read_bytes())
    return ws


VERBS = [
    ("list",),
    ("list", "--json"),
    ("runs",),
    ("runs", "--json"),
    ("info", BASE),
    ("info", BASE, "--json"),
    ("info", GUID),
    ("attach", BASE),
    ("pause", BASE),
    ("stop", BASE),
    ("checkpoint", BASE),
    ("inference", BASE),
    ("bakeoff", "list"),
    ("doctor",),
]


CHANGING = [("doctor", "--repair", "--yes"), ("delete", BASE, "--yes"), ("trash",), ("trash", "empty", "--yes")]


def said(command: Any, ws: Workspace, verbs: Any = VERBS) -> dict[str, Any]:
    """What the commands say of a workspace, none of them a traceback or a thing that drives the terminal."""
    done = {}
    for words in verbs:
        result = command(*words, "--workspace", ws.root)
        both = result.out + result.err
        assert "Traceback" not in both and result.code in (0, 1, 2), (words, both)
        assert not set(both) & {chr(code) for code in range(32) if code not in (9, 10)}, (words, both)
        done[" ".join(words)] = result
    assert GUID[:8] in done["list"].out  # nothing that is broken hides what is not
    return done


def test_it_is_shown_as_it_is(ws, command):
    done = said(command, ws)
    assert "died" in done["runs"].out and "cats" in done["runs"].out


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "plan.json": lambda run, outside: (run / "plan.json").symlink_to(outside / "plan.json"),
    "events.jsonl": lambda run, outside: (run / "events.jsonl").symlink_to(outside / "profile"),
    "control.jsonl": lambda run, outside: (run / "control.jsonl").symlink_to(outside / "profile"),
    "worker.log": lambda run, outside: (run / "worker.log").symlink_to(outside / "profile"),
    "lock": lambda run, outside: (run / "lock").symlink_to(outside / "profile"),
    "checkpoints": lambda run, outside: (run / "checkpoints").symlink_to(outside / "deep"),
    "reserve": lambda run, outside: (run / "reserve").symlink_to(outside / "profile"),
}


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("how", ["out", pytest.param("circle", marks=pytest.mark.slow), "pipe"])
def test_links_and_pipes_in_a_run(ws, command, outside, name, how):
    """Shown, steered and gone on with: nothing is written through a link, and nobody waits at a pipe."""
    run = ws.run_dir(BASE)
    path = run / name
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    path.unlink(missing_ok=True)
    if how == "out":
        LINKS[name](run, outside)
    elif how == "circle":
        path.symlink_to(path)
    else:
        os.mkfifo(path)
    before = state(outside)
    said(command, ws, [*VERBS, ("resume", BASE), *CHANGING])
    assert state(outside) == before


@pytest.mark.parametrize(
    "folder", ["runs", "models", "configs", "tokenizers", "outputs", "settings", "inputs", "bakeoffs", ".trash"]
)
def test_folders_that_lead_out(ws, command, outside, folder, tmp_path):
    real = ws.root / folder
    if real.exists():
        real.rename(tmp_path / "moved")
    real.symlink_to(outside)
    before = state(outside)
    for words in (*VERBS, ("resume", BASE), *CHANGING):
        result = command(*words, "--workspace", ws.root)
        assert "Traceback" not in result.out + result.err
    assert state(outside) == before


def test_a_run_that_is_a_link_hides_no_other(ws, command, outside):
    (ws.runs / OTHER).symlink_to(outside)
    done = said(command, ws)
    assert BASE[:8] in done["runs"].out and OTHER[:8] not in done["runs"].out
    for place in (runs.Run(ws, OTHER), bakeoff.BakeOff(ws, OTHER)):
        place_before = state(outside)
        (ws.root / "bakeoffs").mkdir(exist_ok=True)
        if not (ws.root / "bakeoffs" / OTHER).is_symlink():
            (ws.root / "bakeoffs" / OTHER).symlink_to(outside)
        with pytest.raises(FormatError, match="leads out of the workspace"):
            place.dir  # noqa: B018
        assert state(outside) == place_before


def test_folders_without_end_in_a_run(ws, command):
    place = ws.run_dir(BASE)
    descriptor = os.open(place, os.O_RDONLY)
    for _ in range(1500):  # deeper than Python calls itself, longer than a path may be
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    try:
        said(command, ws)
        for words in (
            ("delete", BASE, "--yes"),
            ("trash", "restore", "last"),
            ("delete", BASE, "--yes"),
            ("trash", "empty", "--yes"),
        ):
            done = command(*words, "--workspace", ws.root)
            assert done.code == 0 and "Traceback" not in done.err, done.err
        assert not place.exists() and not list(ws.trash.glob(f"*{BASE}*"))
    finally:  # pytest's own way of clearing up calls itself
        subprocess.run(["rm", "-rf", place / "d"], check=True)


NAMES = [b"\xff\xfe", b"a\x1b[2Jb", "\u202egnp.exe".encode(), b"a\nb", b"-rf", b"..."]


def test_names_of_files_in_a_run(ws, command):
    for name in NAMES:
        with contextlib.suppress(OSError):  # not every file system takes every name
            (Path(os.fsdecode(os.path.join(os.fsencode(ws.run_dir(BASE)), name)))).write_bytes(b"x")
    done = said(command, ws)
    json.loads(done[f"info {BASE} --json"].out)


PLANS: dict[str, Any] = {
    "calendar": {"created": 1e300},
    "negative": {"created": -1},
    "name": {"name": ["x"]},
    "texts": {"texts": "cats.txt"},
    "budget": {"time_budget": "x"},
    "base": {"base": {"guid": GUID}},
    "config": {"config": [1]},
    "steps": {"config": {"n_steps": "x"}},
    "adaptation": {
        "base": {"guid": GUID, "name": "b", "sha256": "a", "r_learn": 1, "workspace": "/"},
        "adaptation": 3,
        "trained_parameters": 1,
    },
}


@pytest.mark.parametrize("wrong", PLANS)
def test_plans_of_another_kind(ws, command, wrong):
    (ws.run_dir(BASE) / "plan.json").write_text(json.dumps({**PLAN, **PLANS[wrong]}))
    done = said(command, ws, [*VERBS, ("resume", BASE)])
    assert done[f"resume {BASE}"].code == 1 and "plan.json" in done[f"resume {BASE}"].err


def test_a_plan_of_any_size_is_not_read(ws, command):
    with open(ws.run_dir(BASE) / "plan.json", "wb") as file:
        file.truncate(100 << 30)
    said(command, ws)


@pytest.mark.parametrize("how", [(), ("--temperature", "0"), ("--top-p", "0.5"), ("--no-cache",)])
def test_a_model_whose_numbers_overflow(ws, command, how, recwarn):
    """Every number in its file is finite; what is computed from them is not."""
    huge = {name: value * 1e37 if hasattr(value, "dtype") else value for name, value in weights("mha", "mlp").items()}
    ws = put(ws.root.parent / "huge", newest("mha", "mlp"), huge)
    done = command("inference", GUID, "--workspace", ws.root, *how)
    assert done.code == 1 and "not finite" in done.err and done.err.count("\n") <= 2
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]
    assert not (ws.root / "outputs").exists() or not list(ws.outputs.iterdir())  # nothing was said that could be kept


# --- going on with it -------------------------------------------------------------------------------------------------


@pytest.fixture
def resumable(ws: Workspace, text_file: Path) -> tuple[runs.Run, dict[str, Any], dict[str, Any]]:
    """A run whose text is there, its checkpoint's arrays and meta data: it would go on."""
    from fuzz_targets import checkpoint_config

    from babytui import texts
    from engine.model import Model
    from engine.tokenizer.char import Char
    from engine.trainer import Trainer

    text = texts.read([text_file])
    config, vocab = checkpoint_config(), Char.fit(text)
    trainer = Trainer(Model.create(config, len(vocab.vocab)), vocab, vocab.encode(text), sample_tokens=1)
    steps = iter(trainer)
    while trainer.step < 3:
        next(steps)
    arrays, meta = trainer.state()
    steps.close()
    meta = {**meta, "vocab": vocab.vocab, "text_sha256": texts.digest(text), "extra": []}
    run = runs.Run(ws, BASE)
    (run.dir / "plan.json").write_text(json.dumps({**PLAN, "texts": [str(text_file)], "config": config.to_dict()}))
    return run, arrays, meta


def test_a_good_one_goes_on(resumable):
    run, arrays, meta = resumable
    checkpoint.write(run.dir / "checkpoints" / "step_000000003.safetensors", arrays, meta)
    run.resume()
    assert run.wait(60) == "finished"
    told = [event for event in run.events()[0] if event.kind == "start"]
    assert told[-1].step == 3
    assert stat.S_IMODE(run.dir.stat().st_mode) == 0o700  # nobody else steers it from now on


META: dict[str, Any] = {
    "step": "3",
    "seconds": -1,
    "updates": None,
    "rate_factor": [],
    "rate_added": {},
    "scaler": {"scale": "x"},
    "due": ["x"],
    "loss_sum": None,
    "loss_count": 1.5,
    "rises": True,
    "bad": -1,
    "looked": "",
    "length": 0.5,
    "trend": {"mean": []},
    "spike": [1],
    "vocab": [["a"]],
    "extra": [[1, 2]],
    "config": 3,
    "train_loss": "low",
    "back": -2,
    "rollbacks": "x",
}


@pytest.mark.parametrize("key", META)
def test_meta_data_of_another_kind(resumable, key):
    """The checkpoint is said to be damaged, with its name and the field, and the run begins again without it."""
    run, arrays, meta = resumable
    path = run.dir / "checkpoints" / "step_000000003.safetensors"
    checkpoint.write(path, arrays, {**meta, key: META[key]})
    (found,) = Checkpoints(path.parent, run.journal).load()
    assert isinstance(found, FormatError) and path.name in str(found) and key in str(found)
    checkpoint.write(path, arrays, {name: value for name, value in meta.items() if name != key})
    (found,) = Checkpoints(path.parent, run.journal).load()
    optional = {"looked", "length", "trend", "spike", "extra", "back", "rollbacks"}
    assert isinstance(found, FormatError) is (key not in optional)


def test_a_run_with_a_bad_checkpoint_ends_in_no_traceback(resumable):
    run, arrays, meta = resumable
    checkpoint.write(run.dir / "checkpoints" / "step_000000003.safetensors", arrays, {**meta, "scaler": None})
    run.resume()
    assert run.wait(60) == "finished"
    told = run.events()[0]
    alarms = [event.message for event in told if event.kind == "alarm" and "step_000000003" in event.message]
    assert alarms and "scaler" in alarms[0]
    assert "Traceback" not in (run.dir / "worker.log").read_text()


def test_weights_that_are_no_weights(resumable):
    run, arrays, meta = resumable
    path = run.dir / "checkpoints" / "step_000000003.safetensors"
    checkpoint.write(path, {**arrays, "weights/wte_weight": arrays["weights/wte_weight"].astype(np.int32)}, meta)
    (found,) = Checkpoints(path.parent, run.journal).load()
    assert isinstance(found, FormatError) and "wte_weight" in str(found)


def test_a_plan_larger_than_the_machine(resumable):
    """A small checkpoint under a plan that asks for terabytes: known before anything is allocated."""
    run, arrays, meta = resumable
    plan = json.loads((run.dir / "plan.json").read_text())
    huge = {**plan["config"], "n_emb": 65536, "head_size": 65536, "n_layers": 1024, "n_ctx": 1024, "batch_size": 4096}
    (run.dir / "plan.json").write_text(json.dumps({**plan, "config": huge}))
    checkpoint.write(run.dir / "checkpoints" / "step_000000003.safetensors", arrays, meta)
    with pytest.raises(RunError):
        run.resume()
        assert run.wait(60) == "failed"
        raise RunError(run.last_events(1)[0].message)
    said_ = " ".join(event.message for event in run.last_events(5) if event.kind in ("alarm", "end"))
    assert "does not fit this run" in said_ and "GiB of memory" in said_
    assert "Traceback" not in said_


def test_doctor_makes_no_model_larger_than_its_checkpoint(resumable, command):
    """A plan of terabytes beside a small checkpoint: what is said to be made anew is refused before it is allocated."""
    from babytui import rebuild

    run, arrays, meta = resumable
    plan = json.loads((run.dir / "plan.json").read_text())
    huge = {**plan["config"], "n_emb": 65536, "head_size": 65536, "n_layers": 1024}
    (run.dir / "plan.json").write_text(json.dumps({**plan, "config": huge}))
    checkpoint.write(run.dir / "checkpoints" / "step_000000009.safetensors", arrays, meta)
    run.journal.write_bytes((CORPUS / "events" / "run").read_bytes().split(b'{"event": "checkpoint"')[0])  # to its end
    anew = rebuild.possible(run.workspace, run.guid)
    assert anew is not None
    with pytest.raises(FormatError, match="does not fit this run"):
        anew("model")
    done = command("doctor", "--repair", "--yes", "--workspace", run.workspace.root)
    assert "Traceback" not in done.out + done.err


# --- places where something is appended -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["control.jsonl", "worker.log"])
def test_a_second_name_of_a_file_is_not_appended_to(ws, outside, name):
    from store.reading import open_to_append

    path = ws.run_dir(BASE) / name
    os.link(outside / "profile", path)
    with pytest.raises(FormatError, match="nothing is written"):
        open_to_append(path)


def test_a_live_run_is_not_steered_through_a_link(ws, outside):
    run = runs.Run(ws, BASE)
    (run.dir / "control.jsonl").symlink_to(outside / "profile")
    before = state(outside)
    with Lock(run.dir / "lock"), pytest.raises(BabyError, match=r"control\.jsonl"):
        run.command("pause")
    assert state(outside) == before


def test_last_words_of_a_log_of_any_kind(tmp_path):
    log = tmp_path / "worker.log"
    assert last_words(log) == "(nothing)"
    with open(log, "wb") as file:
        file.truncate(1 << 36)
        file.seek(0, 2)
        file.write(b"\nthe last \xff line\n")
    assert last_words(log) == "the last \ufffd line"
    log.unlink()
    os.mkfifo(log)
    assert last_words(log) == "(nothing)"


def test_stopping_a_bakeoff_touches_no_other_file(ws, outside):
    found = bakeoff.BakeOff(ws, OTHER)
    found.dir.mkdir(parents=True)
    (found.dir / "plan.json").write_bytes((CORPUS / "plan" / "bakeoff").read_bytes())
    (found.dir / "stop").symlink_to(outside / "new")
    with Lock(found.dir / "lock"), pytest.raises(BabyError):
        found.stop()
    assert not (outside / "new").exists()


def test_references_never_leave_the_workspace(ws, outside):
    for reference in (
        "../outside",
        "/etc",
        "..",
        ".",
        "a/b",
        "a\0b",
        "\0",
        "nul",
        "con",
        f"{GUID}/../{GUID}",
        f"../runs/{BASE}",
        "",
    ):
        with pytest.raises(NotFound):
            ws.resolve(reference)
        with pytest.raises(NotFound):
            ws.run_dir(reference)
        with pytest.raises(NotFound):
            ws.path("model", reference)
