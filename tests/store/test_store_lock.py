"""The lock: held exactly while a process that took it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from store.atomic import StoreError
from store.lock import Lock


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "lock"
    assert not Lock.held(path) and not path.exists()
    first, second = Lock(path), Lock(path)
    assert first.acquire() and first.acquire()
    assert Lock.held(path) and Lock.owner(path) == os.getpid()
    assert not second.acquire()
    first.release()
    first.release()
    assert not Lock.held(path) and Lock.owner(path) is None
    with second:
        assert Lock.held(path)
        with pytest.raises(StoreError, match="another process"), first:
            pass
    assert not Lock.held(path)


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "lock"
    code = ("import sys, time; from store.lock import Lock; lock = Lock(sys.argv[1]); assert lock.acquire(); "
            "print('ok', flush=True); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ok\n"
        assert Lock.held(path) and Lock.owner(path) == process.pid
        assert not Lock(path).acquire()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not Lock.held(path)
        again = Lock(path)
        assert again.acquire()
        again.release()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_lock_that_was_moved_away_does_not_count(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    old = Lock(run / "lock")
    assert old.acquire()
    run.rename(tmp_path / "trash")
    assert not Lock.held(run / "lock")
    run.mkdir()
    new = Lock(run / "lock")
    assert new.acquire() and Lock.held(tmp_path / "trash" / "lock")
    old.release()
    new.release()


def test_no_folder_and_a_link(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        Lock(tmp_path / "no" / "lock").acquire()
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(StoreError):
        Lock(tmp_path / "lock").acquire()
    assert (tmp_path / "target").read_text() == "precious"


@pytest.mark.parametrize("content", [b"-1\n", b"0\n", b"1\n", b"-99", b"9" * 21, b"x", b"", b"4\n5", b"\xff"])
def test_a_lock_that_somebody_else_wrote_names_no_process(tmp_path, content):
    """kill(2) takes -1 for every process of the user."""
    path = tmp_path / "lock"
    lock = Lock(path)
    assert lock.acquire()
    path.write_bytes(content)
    assert Lock.held(path) and Lock.owner(path) is None
    path.write_bytes(b"4321\n")
    assert Lock.owner(path) == 4321


def test_a_lock_is_no_link(tmp_path):
    """Else whoever holds some other file would make a run look alive."""
    real = Lock(tmp_path / "real")
    assert real.acquire()
    (tmp_path / "lock").symlink_to(tmp_path / "real")
    assert Lock.held(tmp_path / "real") and not Lock.held(tmp_path / "lock")


def test_a_lock_that_was_removed_or_written_over_is_taken_again(tmp_path):
    path = tmp_path / "lock"
    lock, other = Lock(path), Lock(path)
    assert not lock.keep(), "it is not held"
    assert lock.acquire() and lock.keep()
    path.write_text("nobody\n")
    assert Lock.owner(path) is None
    assert lock.keep() and Lock.owner(path) == os.getpid()
    path.unlink()
    assert not Lock.held(path)
    assert lock.keep() and Lock.held(path) and Lock.owner(path) == os.getpid()
    assert not other.acquire()
    lock.release()
    assert not Lock.held(path)


def test_a_lock_that_another_took_in_its_place_is_lost(tmp_path):
    path = tmp_path / "lock"
    lock, other = Lock(path), Lock(path)
    assert lock.acquire()
    path.unlink()
    assert other.acquire()
    assert not lock.keep() and other.keep()
    (tmp_path / "away").mkdir()
    path.rename(tmp_path / "away" / "lock")
    path.symlink_to(tmp_path / "away" / "lock")
    assert other.keep(), "where the disk does not say it is not given up"
