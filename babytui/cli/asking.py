"""Questions to whoever sits at the terminal, and what is said when nobody does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from babytui.cli.output import Output
from engine.errors import UsageError
from store.trash import Deleted

_answer: ContextVar[Callable[[str], bool] | None] = ContextVar("answer", default=None)


@contextmanager
def answered_by(answer: Callable[[str], bool]) -> Iterator[None]:
    """Questions with yes and no of this thread are put to `answer` instead of the terminal."""
    token = _answer.set(answer)
    try:
        yield
    finally:
        _answer.reset(token)


def _somebody() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def stop_or_leave(question: str, owner: bool, make_room: Callable[[], None]) -> str:
    """What ctrl+c means while something is watched: s (stop it), b (leave it in the background) or c (carry on).

    owner: it was started here; then it is asked for, or stopped where nobody can be asked. make_room: called before.
    """
    if not owner:
        return "b"
    if not _somebody():
        return "s"
    make_room()
    while True:
        print(question, end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            return "b"  # the terminal is gone
        if answer.strip().lower()[:1] in ("s", "b", "c"):
            return answer.strip().lower()[0]


def agreed(question: str, out: Output, otherwise: str = "Nothing was deleted") -> bool:
    """Whether whoever sits here says yes; says `otherwise` if not. UsageError where nobody can be asked."""
    answer = _answer.get()
    if answer is None:
        if not _somebody():
            raise UsageError(f"{otherwise}: add --yes, because nobody can be asked here.")
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if answer(question) if answer else sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    out.say(f"{otherwise}.")
    return False


def may_delete(what: str, out: Output) -> bool:
    """Whether `what` may be moved to the trash, see `agreed`."""
    return agreed(f"Move {what} to the trash?", out)


def trashed(gone: Iterable[Deleted]) -> list[dict[str, Any]]:
    """What --json prints for what is in the trash now."""
    return [{"guid": item.guid, "files": [str(path) for path in item.files], "bytes": item.bytes,
             "trash": str(item.trash)} for item in gone]
