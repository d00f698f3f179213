"""A lock that says whether a process is alive: the kernel lets it go when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from store.atomic import explain


class Lock:
    """An exclusive lock on `path` (made if missing) through flock(2). The file stays and holds the owner's pid."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Takes the lock; False if somebody else (or another Lock of this process) has it. StoreError."""
        if self._descriptor is not None:
            return True
        for attempt in range(10):
            taken = self._try()
            if taken:
                return True
            if attempt < 9:
                time.sleep(0.005)  # `held` of another process takes the lock for an instant
        return False

    def _try(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise explain(error, self.path, "locked") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here = os.stat(self.path, follow_symlinks=False)
            mine = os.fstat(descriptor)
            if (here.st_ino, here.st_dev) != (mine.st_ino, mine.st_dev):
                raise BlockingIOError  # the folder was moved away between opening and locking
            with suppress(OSError):  # a full disk must not keep a run from being recognised as alive
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise explain(error, self.path, "locked") from error
        self._descriptor = descriptor
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
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    @staticmethod
    def owner(path: str | Path) -> int | None:
        """The pid of the process that holds the lock at `path`, None when nobody does or it is not known."""
        if not Lock.held(path):
            return None
        try:
            return int(Path(path).read_bytes()[:20])
        except (OSError, ValueError):
            return None
