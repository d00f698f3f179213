"""Bake-offs: what competes, the table and its exports, and real ones of tiny models that are killed and go on."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import fill, until

from babytui import bakeoff, bakeoff_draft, conductor, runs
from babytui import bakeoff_table as table
from babytui.bakeoff import Architecture, BakeOff, Budget
from babytui.bakeoff_draft import architectures
from babytui.bakeoff_progress import Progress, Row
from babytui.cli.bakeoff_live import heading, window
from babytui.cli.parser import parse
from engine import processor, registry
from engine.config import PRESETS, Config
from engine.errors import ConfigError, NotFound, RunError, UsageError
from engine.estimate import state_bytes
from engine.model import Model
from store import journal
from store.atomic import StoreError
from store.lock import Lock
from store.workspace import Workspace

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}
SET = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
ENDLESS = Budget("steps", 10_000_000)


def kill(folder: Path) -> None:
    """SIGKILL to whoever holds the lock in this folder, and wait until it is gone."""
    owner = Lock.owner(folder / "lock")
    assert owner is not None
    os.kill(owner, signal.SIGKILL)
    until(lambda: not Lock.held(folder / "lock"), "death")


def rows(found: BakeOff) -> list[Row]:
    return Progress(found).look()


def results(found: BakeOff) -> list[dict]:
    return journal.read(found.results)[0]


def live_run(found: BakeOff) -> runs.Run:
    """The run that is being trained, when it has made a step."""
    until(lambda: any(row.state == "training" and row.values.get("steps") for row in rows(found)), "a step")
    return runs.Run(found.workspace, next(str(row.values["guid"]) for row in rows(found) if row.state == "training"))


@pytest.fixture
def started(tmp_path: Path, text_file: Path) -> Iterator[Callable[..., BakeOff]]:
    """`started(["mha/mlp"], Budget("steps", 9))` begins one; at the end everything it began is ended."""
    begun: list[BakeOff] = []

    def start(pairs: list[str], budget: Budget = ENDLESS, **options) -> BakeOff:
        config = Config.read({**TINY, **options.pop("values", {})})
        draft = bakeoff_draft.draft(Workspace(tmp_path / "w"), config, architectures(pairs=pairs), [text_file],
                                    budget=budget, **options)
        begun.append(draft.start())
        return begun[-1]

    yield start
    for found in begun:
        if found.alive:
            found.stop()
            found.wait(60)
        for guid in found.run_guids():
            run = runs.Run(found.workspace, guid)
            if run.alive:
                run.command("stop")
                run.wait(60)


# What competes --------------------------------------------------------------------------------------------------------


def test_architectures_come_from_the_registries():
    everything = architectures()
    assert len(everything) == len(registry.attention.names()) * len(registry.network.names())
    assert len(architectures(sequence="both")) == 2 * len(everything)
    assert architectures(["mha,gla"], ["mlp"]) == [("mha", "mlp", "pre"), ("gla", "mlp", "pre")]
    assert architectures(pairs=["mha/mlp", "GLA·swi", "mha+mlp"]) == [("mha", "mlp", "pre"), ("gla", "swi", "pre")]
    assert architectures(["lda"], ["lin"], sequence="post") == [("gla", "gln", "post")], "historic names are resolved"
    assert len(architectures(["mha"])) == len(registry.network.names())
    assert [one.label for one in architectures(["mha"], ["mlp"], sequence="both")] == ["mha·mlp", "mha·mlp post"]
    with pytest.raises(ConfigError, match="did you mean 'mha'"):
        architectures(["mhaa"])
    with pytest.raises(UsageError, match="mha/mlp"):
        architectures(pairs=["mha"])


@pytest.mark.parametrize(("budget", "steps"), [(Budget("steps", 7), 7), (Budget("tokens", 64), 2),
                                               (Budget("tokens", 65), 3), (Budget("tokens", 1), 1),
                                               (Budget("seconds", 3), bakeoff.MOST_STEPS)])
def test_budgets(budget, steps):
    assert budget.steps(Config.read(TINY)) == steps
    assert budget.seconds == (3 if budget.kind == "seconds" else None)


def test_jobs_share_the_cores(monkeypatch):
    monkeypatch.setattr(processor, "cores", lambda: 8)
    one, base = Architecture("gla", "lor", "post"), Config.read(TINY)
    assert bakeoff.config_of(base, one, Budget("steps", 3)).c_device_cpu_cores == 0
    config = bakeoff.config_of(base, one, Budget("steps", 3), jobs=3)
    assert (config.c_device_cpu_cores, config.c_attention, config.c_network, config.c_sequence, config.n_steps) == \
        (2, "gla", "lor", "post", 3)
    assert bakeoff.config_of(base.replace(c_device_cpu_cores=1), one, Budget("steps", 3), 2).c_device_cpu_cores == 1


def test_a_draft_says_what_is_wrong_and_what_it_costs(tmp_path, text_file, monkeypatch):
    workspace, wide = Workspace(tmp_path / "w"), Config.read({**TINY, "n_rank": 9})
    draft = bakeoff_draft.draft(workspace, wide, architectures(pairs=["mha/mlp", "mha/lor"]), [text_file])
    assert list(draft.problems) == [Architecture("mha", "lor")] and len(draft.configs()) == 1
    assert draft.budget == Budget("steps", 60), "without a budget: one pass over the text"
    cost = draft.cost(measure=False)
    assert cost.seconds is None and 100_000 < cost.bytes < 2_000_000 and cost.free > 0
    assert draft.cost().seconds > 0
    timed = bakeoff_draft.draft(workspace, wide, architectures(["mha"], ["mlp", "swi"]), [text_file],
                                budget=Budget("seconds", 60))
    assert 120 < timed.cost().seconds < 140
    with pytest.raises(ConfigError, match="n_rank 9"):
        bakeoff_draft.draft(workspace, wide, architectures(pairs=["mha/lor"]), [text_file])
    with pytest.raises(UsageError, match="at most 40"):
        bakeoff_draft.draft(workspace, wide, architectures(pairs=["mha/mlp"]), [text_file], name="x" * 41)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(RunError, match="free some space"):
        draft.need_room(draft.cost(measure=False))
    assert not (tmp_path / "w").exists(), "a draft writes nothing"


@pytest.mark.parametrize(("chosen", "values", "budget", "words"), [
    (architectures(), {}, Budget("steps", 500), "--steps 500"),
    (architectures(["mha", "gla"], ["mlp"]), {"n_emb": 64}, Budget("seconds", 90.5),
     "--attention mha,gla --network mlp --set n_emb=64 --time 90.5"),
    (architectures(pairs=["mha/mlp", "gla/swi"], sequence="both"), {}, Budget("tokens", 10**7),
     "--arch mha/mlp --arch gla/swi --sequence both --tokens 10000000"),
    (architectures(["aft"], sequence="post"), PRESETS["newborn"], Budget("steps", 2000),
     "--attention aft --sequence post --preset newborn --steps 2000")])
def test_the_command_line_of_a_bake_off(chosen, values, budget, words):
    config = Config.read(values)
    line = bakeoff_draft.command_line(chosen, config.values, budget)
    assert line == "babytui bakeoff " + words
    given = parse(shlex.split(line)[1:])
    assert architectures(given.attention or [], given.network or [], given.arch or [], given.sequence) == chosen


# The table ------------------------------------------------------------------------------------------------------------

VALUES = [{"attention": "a", "network": "n", "sequence": "pre", "validation_loss": 2.0, "tokens_per_second": 10.0},
          {"attention": "b", "network": "n", "sequence": "post", "validation_loss": 1.0, "tokens_per_second": 30.0},
          {"attention": "c", "network": "n", "sequence": "pre", "error": "It, \"well\", failed."}]


@pytest.mark.parametrize(("given", "key"), [("val", "validation_loss"), ("tok/s", "tokens_per_second"),
                                            ("B/tok", "cache_bytes_per_token"), ("gen", "generation_tokens_per_second"),
                                            ("architecture", "architecture"), ("train-loss", "train_loss")])
def test_columns_by_key_title_or_beginning(given, key):
    assert table.sort_key(given) == key


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'perplexity'"):
        table.sort_key("perplexty")


def test_order():
    def names(*arguments):
        return "".join(row["attention"] for row in table.ordered(VALUES, *arguments))

    assert names("validation_loss") == "bac" and names("validation_loss", True) == "abc"
    assert names("tokens_per_second") == "bac", "fast ones first"
    assert names("architecture") == "abc" and names("architecture", True) == "cba"


def test_csv_and_json():
    text = table.as_csv(VALUES)
    head, *body = list(csv.reader(io.StringIO(text)))
    assert head[:3] == ["attention", "network", "sequence"] and "validation_loss [nats/token]" in head
    assert [name.split(" ")[0] for name in head] == list(table.EXPORTED)
    assert body[0][head.index("validation_loss [nats/token]")] == "2.0"
    assert body[2][head.index("error")] == 'It, "well", failed.' and body[2][3] == ""
    assert set(table.exported(VALUES)[0]) == set(table.EXPORTED) and table.exported(VALUES)[0]["perplexity"] is None


@pytest.mark.parametrize("width", [40, 60, 79, 100, 200, None])
def test_lines_fit_and_keep_what_matters(width):
    lines = table.lines(VALUES, width, ["done", "done", "failed"])
    assert len(lines) == 4 and len(set(map(len, lines))) <= 4
    assert all(len(line) <= (width or 1000) for line in lines)
    assert "VAL" in lines[0] and "TOK/S" in lines[0] and lines[0].endswith("RUN")
    assert lines[2].startswith("b·n post") and "1.0000" in lines[2] and lines[3].endswith("failed")


@pytest.mark.parametrize("room", [3, 5, 8, 12, 20])
@pytest.mark.parametrize("done", [0, 4, 11])
def test_the_window_shows_what_fits_and_always_what_is_live(room, done):
    everything = [Row(Architecture(f"a{n}", "n"), "done" if n < done else "training" if n == done else "waiting")
                  for n in range(12)]
    shown, gaps = window(everything, room)
    assert len(shown) + len(gaps) == min(room, 12) and any(row.live for row in shown)
    left_out = sum(int(text.split()[1]) for _, text in gaps)
    assert len(shown) + left_out == 12
    assert [row.architecture for row in shown] == sorted((row.architecture for row in shown),
                                                         key=[row.architecture for row in everything].index)


# Real ones ------------------------------------------------------------------------------------------------------------


def test_a_bake_off_from_start_to_exports(command, tmp_path, text_file):
    root = tmp_path / "w"
    done = command("bakeoff", "--attention", "mha,aft", "--network", "mlp,lor", *SET, "--set", "n_rank=9", "--steps",
                   "20", "--input", text_file, "--workspace", root, "--name", "first", "--csv", tmp_path / "t.csv",
                   "--json")
    assert done.code == 0, done.err
    assert "4 runs of 20 steps each on cats; about" in done.err and "of the" in done.err and "that are free" in done.err
    assert "n_rank 9 is larger than n_emb 8" in done.err and "2 of 4 were trained" in done.err
    found = bakeoff.find(Workspace(root), "first")
    assert found.status() == "finished" and not (found.dir / "stop").exists()
    good, bad = done.data[:2], done.data[2:]
    assert {(row["attention"], row["network"]) for row in good} == {("mha", "mlp"), ("aft", "mlp")}
    assert [row["status"] for row in done.data] == ["done", "done", "failed", "failed"]
    assert all("n_rank 9" in row["error"] and row["validation_loss"] is None for row in bad)
    assert good[0]["validation_loss"] <= good[1]["validation_loss"]
    for row in good:
        assert set(row) == {*table.EXPORTED, "status"} and row["error"] is None
        entry = found.workspace.entry(row["guid"])
        assert entry.name == f"first {row['attention']}·mlp" and entry.has_model and not entry.problems
        assert entry.validation_loss == pytest.approx(row["validation_loss"])
        assert row["perplexity"] == pytest.approx(math.exp(row["validation_loss"]))
        assert (row["steps"], row["tokens"], row["parameters"]) == (20, 640, entry.parameters)
        assert row["tokens_per_second"] == pytest.approx(640 / row["seconds"])
        assert row["generation_tokens_per_second"] > 0
        config = Config.read(entry.config, strict=False)
        kept = sum(state.bytes for pair in Model.create(config, 9).state(1) for state in pair)
        assert row["state_bytes"] == state_bytes(config) == kept
        assert row["cache_bytes_per_token"] == kept / 8
        left = {path.name for path in (runs.Run(found.workspace, row["guid"]).dir / "checkpoints").iterdir()}
        assert "step_000000020.safetensors" in left <= {"step_000000020.safetensors", "best.safetensors"}
    assert list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text())))[1][:3] == \
        [good[0]["attention"], "mlp", "pre"]
    shown = command("bakeoff", "show", "first", "--sort", "architecture", "--workspace", root)
    assert [line.split()[0] for line in shown.out.splitlines()] == ["MODEL", "aft·mlp", "mha·mlp", "mha·lor", "aft·lor"]
    assert command("bakeoff", "show", "--csv", "-", "--workspace", root).out.count("\n") == 5
    listed = command("bakeoff", "list", "--json", "--workspace", root).data
    assert [(one["name"], one["done"], one["architectures"], one["status"]) for one in listed] == \
        [("first", 4, 4, "finished")]
    assert "first" in command("bakeoff", "list", "--workspace", root).out
    with pytest.raises(RunError, match="finished"):
        found.resume()
    before = results(found)[:1]
    refused = command("bakeoff", "delete", "first", "--workspace", root)
    assert refused.code == 2 and "first aft·mlp" in refused.err and "first mha·mlp" in refused.err
    gone = command("bakeoff", "delete", "first", "--yes", "--workspace", root)
    assert gone.code == 0 and "2 models" in gone.err and before
    assert not found.workspace.entries() and not bakeoff.all_bakeoffs(found.workspace) and not found.dir.exists()
    assert list(found.workspace.trash.rglob("results.jsonl"))


def test_killed_conductor_and_killed_run_go_on(started):
    found = started(["mha/mlp", "gla/mlp"], Budget("steps", 10_000_000))
    run = live_run(found)
    run.command("checkpoint")
    until(lambda: list((run.dir / "checkpoints").glob("*.safetensors")), "a checkpoint")
    kill(run.dir)  # the conductor goes on with it
    until(lambda: run.alive and run.status() == "running", "the run to go on")
    assert found.status() == "running"
    kill(found.dir)
    assert found.status() == "died" and run.alive, "the run outlives its conductor"
    assert [row.state for row in rows(found)] == ["training", "waiting"]
    found.resume()
    assert found.status() == "running" and run.alive, "it is taken up again"
    kill(found.dir)
    kill(run.dir)
    assert [row.state for row in rows(found)] == ["died", "waiting"]
    found.resume()
    until(lambda: run.alive and run.status() == "running", "the run to go on from its checkpoint")
    assert found.run_guids() == [run.guid], "nothing was started again"
    found.stop()
    assert found.wait(60) == "stopped" and run.status() == "stopped"
    assert results(found) == [] and not (found.dir / "stop").exists()


@pytest.mark.slow
def test_a_run_without_a_checkpoint_is_started_again_and_finished_rows_are_kept(started):
    found = started(["mha/mlp", "aft/mlp", "gla/mlp"], Budget("steps", 120), name="again")
    until(lambda: len(results(found)) == 1, "a first row")
    first = results(found)[0]
    until(lambda: len(found.run_guids()) == 2, "a second run")
    kill(found.dir)
    second = runs.Run(found.workspace, found.run_guids()[1])
    until(lambda: second.status() not in ("starting",), "its beginning")
    if second.alive:
        kill(second.dir)
    found.resume()
    assert found.wait(60) == "finished"
    told = results(found)
    assert told[0] == first and [row["attention"] for row in told] == ["mha", "aft", "gla"]
    assert all(row["validation_loss"] and row["steps"] == 120 for row in told)
    assert len({row["guid"] for row in told}) == 3


@pytest.mark.slow
def test_several_at_once_are_measured_when_nothing_trains(started):
    found = started(["mha/mlp", "aft/mlp", "gla/mlp"], Budget("tokens", 640), jobs=2)
    assert found.wait(60) == "finished"
    told = results(found)
    assert {row["attention"] for row in told} == {"mha", "aft", "gla"} and not any(row.get("error") for row in told)
    plans = [runs.Run(found.workspace, str(row["guid"])).plan for row in told]
    assert {plan["config"]["c_device_cpu_cores"] for plan in plans} == {max(1, processor.cores() // 2)}
    ends = [runs.Run(found.workspace, str(row["guid"])).last_events(1)[0].time for row in told]
    assert all(row["ended"] - 0.001 > max(ends[:2]) for row in told)


def test_a_time_budget(started):
    found = started(["mha/mlp"], Budget("seconds", 0.2))
    assert found.wait(60) == "finished"
    row = results(found)[0]
    assert row["seconds"] >= 0.2 and 0 < row["steps"] < bakeoff.MOST_STEPS and row["validation_loss"]


@pytest.mark.slow
def test_a_full_disk_is_told_and_waited_for(small_disk, text_file):
    pairs = architectures(pairs=["mha/mlp", "aft/mlp"])
    draft = bakeoff_draft.draft(Workspace(small_disk / "w"), Config.read(TINY), pairs, [text_file],
                                budget=Budget("steps", 2000))
    found = draft.start()
    try:
        live_run(found)
        hog = fill(small_disk)
        progress = Progress(found)

        def waits() -> str:
            progress.look()
            return progress.waits

        until(lambda: "disk" in (waits() or str(runs.Run(found.workspace, found.run_guids()[0]).last_events(5))),
              "somebody to say so")
        time.sleep(3)
        assert found.status() == "running" and len(results(found)) < 2
        hog.unlink()
        assert found.wait(60) == "finished"
        assert [row.get("error") for row in results(found)] == [None, None] and waits() == ""
        assert not (found.dir / "reserve").exists()
    finally:
        if found.alive:
            kill(found.dir)


def test_a_conductor_waits_for_room_and_says_so(started, monkeypatch):
    """Where not its runs but the bake-off itself is refused."""
    found = started(["mha/mlp", "aft/mlp"], Budget("steps", 30))
    found.stop()
    found.wait(60)
    refused = [True]
    real = runs.need_room

    def need(*arguments):
        if refused:
            raise StoreError("The disk is full.", found.dir, errno.ENOSPC)
        real(*arguments)

    monkeypatch.setattr(runs, "need_room", need)
    monkeypatch.setattr("babytui.conductor.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("babytui.process.heed", lambda stop: None)
    lock = Lock(found.dir / "lock")
    assert lock.acquire()
    (found.dir / "log.jsonl").write_bytes(b"")
    one = conductor.Conductor(found, lock=lock)
    thread = threading.Thread(target=one.run_to_end)
    thread.start()
    progress = Progress(found)
    try:
        until(lambda: progress.look() and progress.waits, "it to say so")
        assert "The disk is full. The bake-off waits" in progress.waits and found.status() == "running"
        assert "waits: The disk is full." in heading(progress)
        refused.clear()
        until(lambda: progress.look() and not progress.waits, "it to go on")
        until(lambda: len(results(found)) == 2, "both rows")
    finally:
        refused.clear()
        one.asked = thread.is_alive() and len(results(found)) < 2
        thread.join(60)
        lock.release()
    assert found.status() == "finished" and not any(row.get("error") for row in results(found))


def test_what_a_stranger_put_in_place_of_checkpoints_is_left_alone(started, tmp_path):
    found = started(["mha/mlp", "aft/mlp"], Budget("steps", 30))
    assert found.wait(60) == "finished"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "llama.safetensors").write_text("mine")
    last = runs.Run(found.workspace, str(results(found)[-1]["guid"]))
    shutil.rmtree(last.dir / "checkpoints")
    (last.dir / "checkpoints").symlink_to(precious)
    for path, keep in ((found.results, 1), (found.log, -1)):  # as if it had been killed before the last was measured
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))
    found.resume()
    assert found.wait(60) == "finished" and len(results(found)) == 2
    assert (precious / "llama.safetensors").read_text() == "mine"


def test_a_failing_run_is_a_row_and_may_be_tried_again(started):
    found = started(["mha/mlp", "aft/mlp"])
    run = live_run(found)
    run.command("stop")  # somebody else stops one
    until(lambda: len(results(found)) == 1, "its row")
    assert results(found)[0]["error"].startswith("It was stopped after ")
    assert live_run(found).guid != run.guid
    found.stop()
    found.wait(60)
    assert found.status() == "stopped"
    found.resume(retry=True)
    again = live_run(found)
    assert again.guid not in (run.guid,) and rows(found)[0].state == "training"
    assert again.plan["name"] == "bake mha·mlp-2", "names stay distinct"
    with pytest.raises(RunError, match="at work"):
        found.delete()


def test_wrong_input(command, tmp_path, text_file):
    root = tmp_path / "w"
    base = ["bakeoff", "--workspace", root, "--input", text_file]
    for words, code, said in [
            (["--attention", "mhaa"], 2, "did you mean 'mha'"), (["--network", "mpl"], 2, "did you mean 'mlp'"),
            (["--steps", "0"], 2, "at least 1"), (["--steps", "3", "--time", "5s"], 2, "use one of them"),
            (["--set", "c_attention=mha"], 2, "--attention"), (["--sort", "sped"], 2, "column"),
            (["--jobs", "0"], 2, "1 to 64"), (["--set", "n_heads=3"], 2, "n_heads"),
            (["shwo"], 2, "did you mean 'show'")]:
        done = command(*base, *words)
        assert done.code == code and said in done.err and not done.out, (words, done.err)
    assert "There are no bake-offs" in command("bakeoff", "show", "x", "--workspace", root).err
    assert not root.exists()


def test_a_text_that_has_changed_is_refused(started, text_file):
    found = started(["mha/mlp"])
    live_run(found)
    found.stop()
    assert found.wait(60) == "stopped"
    text_file.write_text("Another text altogether. " * 100)
    found.resume()
    assert found.wait(60) == "failed" and "text has changed" in found.message


def test_a_broken_plan_hides_no_other(command, started):
    found = started(["mha/mlp"], Budget("steps", 5), name="good")
    assert found.wait(60) == "finished"
    broken = found.dir.parent / "00000000-0000-0000-0000-000000000000"
    for text in ("{", "[1]", '{"architectures": [[1]]}', '{"architectures": [], "budget": 3, "created": "x"}'):
        broken.mkdir(exist_ok=True)
        (broken / "plan.json").write_text(text)
        done = command("bakeoff", "list", "--workspace", found.workspace.root)
        assert done.code == 0 and "good" in done.out and "cannot be read" in done.err, text
        shown = command("bakeoff", "show", "0000", "--workspace", found.workspace.root)
        assert shown.code == 1 and "cannot be read" in shown.err


def test_references(started):
    found = started(["mha/mlp"], Budget("steps", 5), name="Alpha")
    other = started(["mha/mlp"], Budget("steps", 5))
    workspace = found.workspace
    for one in (found, other):
        assert one.wait(60) == "finished"
    assert bakeoff.find(workspace, "Alpha").guid == bakeoff.find(workspace, found.guid[:8]).guid == found.guid
    assert bakeoff.find(workspace, "last").guid == other.guid and other.name == "bake"
    with pytest.raises(NotFound, match="did you mean Alpha"):
        bakeoff.find(workspace, "Alfa")
    with pytest.raises(NotFound, match="bakeoff list"):
        bakeoff.find(workspace, "zzzz")
    with pytest.raises(RunError, match="not at work"):
        found.stop()
    json.dumps([row.values for row in rows(found)])


@pytest.mark.slow
def test_whoever_resumes_one_on_a_full_disk_is_told_or_it_waits(small_disk, text_file):
    pairs = architectures(pairs=["mha/mlp", "aft/mlp"])
    found = bakeoff_draft.draft(Workspace(small_disk / "w"), Config.read(TINY), pairs, [text_file],
                                budget=Budget("steps", 10_000_000)).start()
    live_run(found)
    found.stop()
    assert found.wait(60) == "stopped"
    hog = fill(small_disk)
    try:
        found.resume()
    except RunError as error:  # not even its first line found room
        assert "disk is full" in str(error) and not found.alive
    hog.unlink()
    found.resume()
    live_run(found)
    found.stop()
    assert found.wait(60) == "stopped"
