"""Work in a process that is killed at a chosen system call."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence


def killed_at(nth: int, after: bool, calls: Sequence[str], work: Callable[[], object]) -> bool:
    """Does the work in a process that is killed at its nth call of these functions of `os` (after: when it is done);
    True when it had ended before. AssertionError when the work failed."""
    child = os.fork()
    if child == 0:
        try:
            _count(nth, after, calls)
            work()
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code == 0


def _count(nth: int, after: bool, calls: Sequence[str]) -> None:
    count = 0

    def counting(real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            nonlocal count
            count += 1
            mine = count == nth
            if mine and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*given, **named)
            finally:
                if mine:
                    os.kill(os.getpid(), signal.SIGKILL)
        return call

    for name in calls:
        setattr(os, name, counting(getattr(os, name)))
