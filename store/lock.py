"""A lock that says whether a process is alive: the kernel lets it go when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from engine.errors import BabyError
from store.atomic import explain
from store.reading import read_bytes


class Lock:
    """An exclusive lock on `path` (made if missing) through flock(2). The file stays and holds the owner's pid.

    It can be handed to a process that is started: the starter takes it unsigned and passes `descriptor` on, the new
    process adopts it, so there is no moment at which nobody has it. The starter's own release leaves it to the other.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)  # may be set anew when its folder moves
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """Of the lock file while it is held, to be passed on; ValueError otherwise."""
        if self._descriptor is None:
            raise ValueError("the lock is not held")
        return self._descriptor

    def acquire(self, *, sign: bool = True) -> bool:
        """Takes the lock; False if somebody else (or another Lock of this process) has it. StoreError.

        sign: write the own pid into it; otherwise nobody's, until the process that it is for adopts it.
        """
        if self._descriptor is not None:
            return True
        for attempt in range(10):
            taken = self._try(sign)
            if taken:
                return True
            if attempt < 9:
                time.sleep(0.005)  # `held` of another process takes the lock for an instant
        return False

    def adopt(self, descriptor: int) -> bool:
        """Goes on with the lock that the starter of this process took; False when it is not that of `path`."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it is ours already, or this is another file
            if not self._same(descriptor):
                return False
            os.set_inheritable(descriptor, False)
        except OSError:
            return False
        self._descriptor = descriptor
        self._sign(f"{os.getpid()}\n")
        return True

    def keep(self) -> bool:
        """Whether it is still the lock at `path`, which somebody may have replaced or removed: then it is taken anew if
        nobody else has, and what was written over is signed again. True where the disk does not say."""
        if self._descriptor is None:
            return False
        try:
            if self._same(self._descriptor):
                if os.pread(self._descriptor, 20, 0) != b"%d\n" % os.getpid():
                    self._sign(f"{os.getpid()}\n")
                return True
        except FileNotFoundError:
            pass
        except OSError:
            return True
        mine, self._descriptor = self._descriptor, None
        try:
            kept = self.acquire()
        except BabyError:
            self._descriptor = mine
            return True
        if kept:
            os.close(mine)
        else:
            self._descriptor = mine
        return kept

    def _same(self, descriptor: int) -> bool:
        """Whether the descriptor's file is the one at `path`: its folder may have been moved away. OSError."""
        here, mine = os.stat(self.path, follow_symlinks=False), os.fstat(descriptor)
        return (here.st_ino, here.st_dev) == (mine.st_ino, mine.st_dev)

    def _sign(self, text: str) -> None:
        assert self._descriptor is not None
        with suppress(OSError):  # a full disk must not keep a run from being recognised as alive
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def _try(self, sign: bool) -> bool:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise explain(error, self.path, "locked") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._same(descriptor):
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise explain(error, self.path, "locked") from error
        self._descriptor = descriptor
        self._sign(f"{os.getpid()}\n" if sign else "")
        return True

    def release(self) -> None:
        """Lets the lock go. Does nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Lock:
        if not self.acquire():
            raise explain(BlockingIOError(errno.EWOULDBLOCK, "another process is using it"), self.path, "locked")
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @staticmethod
    def held(path: str | Path) -> bool:
        """Whether anybody holds the lock at `path`. A missing file is not held."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            with suppress(OSError):
                os.close(descriptor)
        return False

    @staticmethod
    def owner(path: str | Path) -> int | None:
        """The pid of the process that holds the lock at `path`, None when nobody does or it is not known."""
        if not Lock.held(path):
            return None
        try:
            pid = int(read_bytes(path, 20, follow=False))
        except (BabyError, ValueError):
            return None
        return pid if pid > 1 else None  # others mean more than one process to kill(2)
