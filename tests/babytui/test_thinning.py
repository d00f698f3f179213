"""A journal that was thinned tells the same: the report has the same bytes, also when the run went on afterwards."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babytui import report, thinning
from babytui.runs import Run
from engine import events
from store import journal
from store.journal import Journal
from store.workspace import Workspace

GUID = "00000000-0000-4000-8000-000000000001"
END = events.End(step=20_000, reason="finished", train_loss=1.5, validation_loss=2.5, tokens=7, seconds=9.0, time=3.0)


def start(step: int) -> events.Start:
    return events.Start(step=step, config={}, parameters=10, vocab_size=3, steps=9, tokens_per_step=4, train_tokens=400,
                        validation_tokens=40, dataset="a", time=1.0)


def step(number: int) -> events.Step:
    return events.Step(step=number, loss=1 + 1 / (number + 1), learning_rate=0.1, gradient_norm=1.0, epoch=0.5,
                       tokens=number, seconds=number / 8, tokens_per_second=8.0, time=2.0)


def lives(spans: list[tuple[int, int]]) -> list[list[events.Event]]:
    """The events of a run that went on from `first` to `last`, again and again."""
    found: list[list[events.Event]] = []
    for first, last in spans:
        found.append([start(first)])
        for number in range(first + 1, last + 1):
            found[-1].append(step(number))
            if number % 500 == 0:
                found[-1].append(events.Evaluation(step=number, train_loss=1.0, validation_loss=None, tokens=number,
                                                   seconds=1.0, time=2.0))
    return found


def test_the_report_is_the_same_at_every_moment(tmp_path):
    """Two journals of one run, one thinned between its lives (one of them a rollback), the other never."""
    thinned, whole = Run(Workspace(tmp_path / "a"), GUID), Run(Workspace(tmp_path / "b"), GUID)
    saved = 0
    for run in (thinned, whole):
        run.dir.mkdir(parents=True)
    for life in lives([(0, 2100), (1990, 4002), (4000, 4003), (2500, 9000), (8900, 9100)]):
        for run in (thinned, whole):
            with Journal(run.journal) as out:
                for event in life:
                    out.append(event.to_dict())
        saved += journal.thin(thinned.journal, thinning._Taken(), recent=5000)
        assert report.build(thinned, END) == report.build(whole, END)
        assert [event for event in thinned.events()[0] if not isinstance(event, events.Step)] == [
            event for event in whole.events()[0] if not isinstance(event, events.Step)]
        assert thinned.events()[1] == whole.events()[1]  # offsets mean the same
    assert saved > whole.journal.stat().st_size / 2
    assert orjson.dumps(report.build(thinned, END)) == orjson.dumps(report.build(whole, END))


def test_of_a_long_run_little_is_left_and_the_end_is_whole(tmp_path):
    run = Run(Workspace(tmp_path), GUID)
    run.dir.mkdir(parents=True)
    with Journal(run.journal) as out:
        for life in lives([(0, 20_000)]):
            for event in life:
                out.append(event.to_dict())
        out.append(END.to_dict())
    before, size = report.build(run, END), run.journal.stat().st_size
    recent = run.last_events(1000)
    assert thinning.thin(run) > 0.5 * size
    assert run.last_events(1000) == recent and report.build(run, END) == before
    assert run.status() == "finished"
    assert thinning.thin(run) == 0


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=6), st.lists(st.integers(0, 3000), min_size=6, max_size=6))
def test_the_same_whatever_the_lives(tmp_path_factory, lengths, backs):
    thinned = Run(Workspace(tmp_path_factory.mktemp("a")), GUID)
    whole = Run(Workspace(tmp_path_factory.mktemp("b")), GUID)
    spans, at = [], 0
    for length, back in zip(lengths, backs, strict=False):
        first = max(0, at - back)
        spans.append((first, at := first + length))
    for run in (thinned, whole):
        run.dir.mkdir(parents=True)
    for life in lives(spans):
        for run in (thinned, whole):
            with Journal(run.journal) as out:
                for event in life:
                    out.append(event.to_dict())
        journal.thin(thinned.journal, thinning._Taken(), recent=2000)
    assert report.build(thinned, END) == report.build(whole, END)
