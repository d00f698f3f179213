"""Curves from journals and reports, a part of a long journal read again, and `babytui curve` and `babytui rate`."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from babytui import runs
from babytui.curve import loading
from engine.events import Start, Step
from store.journal import Journal
from store.workspace import Workspace
from tests.support.waiting import until

GUID = "00000000-0000-4000-8000-000000000001"


def step(n: int, loss: float) -> dict[str, Any]:
    return Step(step=n, loss=loss, learning_rate=n / 1e6, gradient_norm=1.0, epoch=0.1, tokens=n, seconds=n / 100,
                tokens_per_second=10.0, time=1.0).to_dict()


def start(n: int, steps: int) -> dict[str, Any]:
    return Start(step=n, config={}, parameters=9, vocab_size=3, steps=steps, tokens_per_step=4, train_tokens=9,
                 validation_tokens=0, time=1.0).to_dict()


@pytest.fixture
def long_journal(tmp_path: Path) -> Iterator[Path]:
    """120,000 steps, the last 30,000 of them done twice: the loss of the second time is higher by 100."""
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        journal.append(start(0, 120_000))
        for n in range(1, 110_001):
            journal.append(step(n, float(n)))
        journal.append(start(90_000, 120_000))
        for n in range(90_001, 120_001):
            journal.append(step(n, n + 100.0))
    yield path


@pytest.mark.slow
def test_a_part_is_read_again_step_by_step(long_journal: Path) -> None:
    for first, last in ((1, 50), (44_990, 45_010), (89_990, 90_010), (100_000, 100_020), (119_990, 120_000)):
        curve = loading.from_journal(long_journal, span=(first, last))
        assert len(curve.train) <= 2049
        assert [(p.step, p.value) for p in curve.fine] == [(n, n + (100.0 if n > 90_000 else 0.0))
                                                           for n in range(first, last + 1)]
        assert curve.fine[0].rate == first / 1e6


@pytest.mark.slow
def test_a_wide_part_is_averaged_and_a_very_wide_one_left_out(long_journal: Path) -> None:
    curve = loading.from_journal(long_journal, span=(10_000, 60_000))
    assert 2000 < len(curve.fine) <= 4096
    assert all(abs(p.value - p.step) < 1e-6 for p in curve.fine)
    assert loading.finer(long_journal, loading.Index(), 0, loading.WIDEST + 1) == []


def test_the_index_leads_to_a_place_before_every_step(long_journal: Path) -> None:
    from store import journal

    index, offset, before = loading.Index(), journal.Offset(), -1
    while offset != before:
        before = offset
        lines, offset = journal.read(long_journal, offset, limit=1 << 18)
        index.note(before, lines)
    for wanted in (1, 7_000, 89_999, 90_001, 119_999):
        lines, _ = journal.read(long_journal, index.before(wanted), limit=1 << 24)
        found = [line["loss"] for line in lines if line["event"] == "step" and line["step"] == wanted]
        assert found and found[-1] == wanted + (100.0 if wanted > 90_000 else 0.0)


def test_curve_draws_runs_and_models_whose_run_is_gone(command: Any, nest: tuple[Workspace, str]) -> None:
    workspace, guid = nest
    done = command("curve", "tiny", "--width", "70", "--height", "14", "--workspace", workspace.root)
    lines = done.out.splitlines()
    assert done.code == 0 and len(lines) == 14 and all(len(line) <= 70 for line in lines)
    assert lines[0].startswith("loss  t train") and "step" in lines[-1] and "\x1b" not in done.out
    steps = command("curve", "tiny", "--json", "--workspace", workspace.root).data
    assert [point["step"] for point in steps[0]["train"]] == list(range(1, 31))
    assert steps[0]["guid"] == guid and steps[0]["train"][3]["learning_rate"] > 0
    shutil.rmtree(workspace.run_dir(guid))
    report = workspace.entry(guid).report["babytui_curve"]
    points = command("curve", "tiny", "--json", "--workspace", workspace.root).data[0]
    assert [point["loss"] for point in points["validation"]] == [row[2] for row in report]
    told = command("curve", "tiny", "--by", "time", "--workspace", workspace.root)
    assert told.code == 0 and "does not tell time" in told.err and "by step" in told.out


def test_curve_draws_several_and_parts(command: Any, nest: tuple[Workspace, str]) -> None:
    workspace, _ = nest
    both = command("curve", "tiny", "baby", "--log-y", "--log-x", "--workspace", workspace.root)
    assert both.code == 0 and "A tiny" in both.out and "B " in both.out and "(log)" in both.out
    part = command("curve", "tiny", "--from", "10", "--to", "20", "--json", "--workspace", workspace.root).data[0]
    assert [point["step"] for point in part["train"]] == list(range(10, 21))
    tokens = command("curve", "tiny", "--by", "tokens", "--from", "320", "--to", "640", "--json", "--workspace",
                     workspace.root).data[0]
    assert [point["step"] for point in tokens["train"]] == list(range(10, 21))


@pytest.mark.parametrize(("words", "sentence"), [
    (["--from", "x"], "--from is a number"), (["--by", "time", "--to", "soon"], "--to is a time"),
    (["--from", "20", "--to", "10"], "--to must be more than --from"), (["--width", "3"], "from 20 to 1000"),
    (["--smooth", "1"], "from 0 to 0.999"), (["--by", "epoch"], "epoch")])
def test_curve_says_what_is_wrong(command: Any, nest: tuple[Workspace, str], words: list[str], sentence: str) -> None:
    done = command("curve", "tiny", *words, "--workspace", nest[0].root)
    assert done.code == 2 and sentence in done.err and not done.out


def test_curve_of_nobody_and_of_too_many(command: Any, nest: tuple[Workspace, str]) -> None:
    assert command("curve", "nobody", "--workspace", nest[0].root).code == 1
    many = command("curve", *["tiny"] * 9, "--workspace", nest[0].root)
    assert many.code == 2 and "at most 8" in many.err


def test_rate_changes_a_live_run_and_is_marked_on_its_curve(command: Any, long_run: runs.Run) -> None:
    root = long_run.workspace.root
    done = command("rate", long_run.guid, "0.0005", "--json", "--workspace", root)
    assert done.code == 0 and done.data["learning_rate"] == 0.0005
    at = done.data["step"]
    after = until(lambda: [e for e in long_run.tail(500)[0] if isinstance(e, Step) and e.step > at], "a step")
    assert after[0].learning_rate == pytest.approx(0.0005, rel=0.02)
    curve = loading.load(long_run.workspace, long_run.guid)
    assert [(m.step, m.text) for m in curve.marks if m.kind == "rate"] == [(at, "learning rate 0.0005")]
    for wrong in ("x", "-1", "11", "nan", "inf"):
        refused = command("rate", long_run.guid, wrong, "--workspace", root)
        assert refused.code == 2 and "0 to 10" in refused.err


def test_rate_of_a_run_that_is_over_says_so(command: Any, nest: tuple[Workspace, str]) -> None:
    done = command("rate", "tiny", "0.1", "--workspace", nest[0].root)
    assert done.code == 1 and "is not running" in done.err


def test_a_journal_of_a_stranger_draws_what_is_sound(command: Any, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w").ensure()
    run = runs.Run(workspace, GUID)
    run.dir.mkdir(parents=True)
    (run.dir / "plan.json").write_text(json.dumps({"created": time.time(), "name": "\x1b[2Jevil"}))
    lines = [json.dumps(step(n, float(n))) for n in range(1, 9)]
    lines += ['{"event":"step","step":"9"}', '{"event":"step","step":-4,"loss":1}', "nonsense", '{"event":7}',
              json.dumps({**step(10, 1.0), "loss": 1e299}), json.dumps({**step(11, 1.0), "seconds": 1e299}),
              '{"event":"control","step":5,"command":"learning_rate","value":null,"time":1}',
              '{"event":"alarm","step":6,"time":1,"name":"x","message":"\\u001b]52;c;x\\u0007"}']
    run.journal.write_text("\n".join(lines) + "\n")
    for words in ([], ["--log-y"], ["--by", "time", "--log-x"], ["--from", "2", "--to", "5"]):
        done = command("curve", GUID, *words, "--workspace", workspace.root)
        assert done.code == 0, done.err
        assert "\x1b" not in done.out + done.err and "\x07" not in done.out
