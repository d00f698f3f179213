"""Real processes around one journal: writers, somebody who thins it again and again, followers, and kill -9."""

from __future__ import annotations

import os
import random
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from store import journal
from store.journal import Journal

LINES = 4000


def process(work: Callable[[], object]) -> int:
    """The pid of a child that does the work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside pytest's threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def over(child: int) -> bool:
    return os.waitpid(child, os.WNOHANG)[0] != 0


def write(path: Path, name: str, first: int, last: int) -> None:
    with Journal(path) as out:
        for number in range(first, last):
            kind = "step" if number % 5 else "evaluation"
            out.append({"event": kind, "step": number, "by": name, "text": "ä" * (number % 60)})
            if number % 7 == 0:
                out.flush()


def kept(line: dict) -> bool:
    return line["event"] != "step" or line["step"] % 16 == 0


class Follower:
    def __init__(self, path: Path):
        self.path, self.offset, self.seen = path, 0, list[tuple[str, int]]()

    def look(self, limit: int | None = 3000) -> None:
        lines, self.offset = journal.read(self.path, self.offset, limit)
        self.seen += [(line["by"], line["step"]) for line in lines]

    def check(self, writers: dict[str, int]) -> None:
        """Every line that was kept came once, in the order of its writer; no other came twice."""
        for name, count in writers.items():
            seen = [step for by, step in self.seen if by == name]
            assert seen == sorted(set(seen))
            kind = [{"event": "step" if step % 5 else "evaluation", "step": step} for step in range(count)]
            assert {line["step"] for line in kind if kept(line)} <= set(seen) <= set(range(count))


def test_followers_of_writers_whose_journal_is_thinned_meanwhile(tmp_path):
    path = tmp_path / "events.jsonl"
    Journal(path).close()
    children = [process(lambda name=name: write(path, name, 0, LINES)) for name in "ab"]
    early, late = Follower(path), Follower(path)
    saved = rounds = 0
    while children:
        early.look()
        if rounds % 3 == 0:
            saved += journal.thin(path, kept, recent=2000)
        children = [child for child in children if not over(child)]
        rounds += 1
    saved += journal.thin(path, kept, recent=2000)
    for follower in (early, late):
        before = -1
        while before != follower.offset:
            before = follower.offset
            follower.look()
        follower.check({"a": LINES, "b": LINES})
    assert saved > path.stat().st_size > 0 and early.offset == late.offset == journal.end(path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_writers_and_thinners_that_are_killed_at_random(tmp_path, seed):
    """Whatever was flushed before is there, nothing is there twice, and the next writer goes on."""
    dice = random.Random(seed)
    path = tmp_path / "events.jsonl"
    follower, first = Follower(path), 0
    Journal(path).close()
    for _ in range(12):
        child = process(lambda first=first: write(path, "a", first, first + 10**6))
        before, target = follower.offset, dice.randrange(1, 40_000)
        while follower.offset - before < target:  # let it write so many bytes
            assert not over(child)
            follower.look(None)
            if dice.random() < 0.02:
                thinner = process(lambda: journal.thin(path, kept, recent=1000))
                if dice.random() < 0.5:
                    os.kill(thinner, signal.SIGKILL)
                os.waitpid(thinner, 0)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        follower.look(None)
        first = follower.seen[-1][1] + 1
        torn = journal.torn(path)
        journal.repair(path)
        rest = journal.read(path, follower.offset)[0]
        assert len(rest) <= 1 and journal.torn(path) == 0 and (torn or not rest)
        follower.look(None)
        first += len(rest)
    assert [step for _, step in follower.seen] == sorted({step for _, step in follower.seen})
    follower.check({"a": first})
