"""Mending what `store.examine` found.

Nothing is mended that a live process uses: its lock tells, and is held meanwhile. Nothing is deleted: what is in the
way moves to the trash. What is not ours is never touched. Imports no arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BabyError
from store import trash
from store.atomic import explain, shown_path
from store.lock import Lock


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    kind: half-deleted, died, damaged, torn, temporary, orphan, lock, open, foreign or problem. text: what it is and
    what a person can do, a sentence or two. remedy: what a repair does; empty when it does nothing. aside: it moves
    `path` to the trash; otherwise `mend` does it. still: whether it is as it was, asked with the locks held. work: the
    folder of the run or bake-off that must be at rest meanwhile.
    """

    kind: str
    path: Path
    text: str
    remedy: str = ""
    aside: bool = False
    mend: Callable[[], object] | None = None
    still: Callable[[], bool] = lambda: True
    work: Path | None = None


def mend(root: Path, found: Iterable[Finding]) -> list[tuple[Finding, str]]:
    """Does what the findings' remedies say, as far as they are still so. With each the reason why not; empty: done."""
    done: list[tuple[Finding, str]] = []
    aside: list[Finding] = []
    for finding in found:
        if finding.aside:
            aside.append(finding)
        elif finding.mend is not None:
            done.append((finding, _try(root, [finding])[0]))
    if aside:
        together = _try(root, aside)
        if len(aside) > 1 and any(together):  # what cannot be moved does not keep the others where they are
            together = [_try(root, [finding])[0] if why else why for finding, why in zip(aside, together, strict=True)]
        done += zip(aside, together, strict=True)
    return done


def _try(root: Path, found: Sequence[Finding]) -> list[str]:
    """Mends these, which are one that mends itself, or several to be put into the trash together."""
    first = found[0]
    if not first.aside and first.work is None:
        return [_said(first)]
    try:
        with trash.changing(root), ExitStack() as stack:
            held: dict[Path, bool] = {}
            why = [_hindered(finding, held, stack) for finding in found]
            free = [finding for finding, reason in zip(found, why, strict=True) if not reason]
            if not first.aside:
                return why if why[0] else [_said(first)]
            if free:
                trash.set_aside(root, [finding.path for finding in free], "repair")
            return why
    except BabyError as error:
        return [str(error)] * len(found)


def _said(finding: Finding) -> str:
    try:
        assert finding.mend is not None
        finding.mend()
    except BabyError as error:
        return str(error)
    except OSError as error:
        return str(explain(error, finding.path, "repaired"))
    return ""


def _hindered(finding: Finding, held: dict[Path, bool], stack: ExitStack) -> str:
    """Why it cannot be mended now; holds the lock of its work until the stack ends."""
    work = finding.work
    if work is not None and work not in held and (work / "lock").is_file() and not (work / "lock").is_symlink():
        lock = Lock(work / "lock")
        held[work] = lock.acquire()
        stack.callback(lock.release)
    if work is not None and not held.get(work, True):
        return f"{shown_path(work.name)} is at work now; nothing was done."
    if not finding.still():
        return f"{shown_path(finding.path.name)} is not as it was any more; nothing was done."
    return ""


def suspended(pid: int) -> bool:
    """Whether a process was stopped by a signal (ctrl+z, SIGSTOP). False where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(4096).rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False
