"""Writing: after any failure the old file or the new one is whole, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import resource
import stat
from pathlib import Path

import pytest

from engine.errors import FormatError, RunError
from store import atomic
from store.atomic import StoreError, replacing, write_bytes, write_json

CALLS = ["open", "fsync", "replace", "fchmod", "link"]


def fail_once(monkeypatch: pytest.MonkeyPatch, call: str, code: int, nth: int) -> None:
    """The nth use of os.<call> from now on fails, every other one works."""
    real, count = getattr(os, call), 0

    def wrapper(*args, **kwargs):
        nonlocal count
        count += 1
        if count == nth:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, call, wrapper)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("call", CALLS)
def test_any_failing_call_leaves_old_or_new(tmp_path, monkeypatch, call, nth, code, overwrite):
    path = tmp_path / "file.json"
    if overwrite:
        path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        fail_once(patch, call, code, nth)
        try:
            write_bytes(path, b"new", overwrite=overwrite)
            failed = None
        except StoreError as error:
            failed = error
    assert [p.name for p in tmp_path.iterdir()] in ([], ["file.json"])
    if failed is None:
        assert path.read_bytes() == b"new"
    else:
        assert failed.errno == code and failed.exit_code == 1 and "file.json" in str(failed)
        renamed = (call, nth) in (("fsync", 2), ("open", 2))  # only the folder was left to be synced
        assert (path.read_bytes() if path.exists() else None) == (b"new" if renamed else b"old" if overwrite else None)


def test_sentences_say_what_to_do():
    full = atomic.explain(OSError(errno.ENOSPC, "x"), Path("models/a.json"))
    assert str(full) == "models/a.json cannot be written: the disk is full; free some space and try again."
    assert isinstance(full, RunError)
    assert "permission" in str(atomic.explain(OSError(errno.EACCES, "x"), Path("a")))
    assert "\x1b" not in str(atomic.explain(OSError(errno.EACCES, "x"), Path("a\x1b[31m")))


def test_a_real_short_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # SIGXFSZ is ignored by Python: EFBIG
    try:
        with pytest.raises(StoreError) as caught:
            write_bytes(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == ["file.json"] and path.read_bytes() == b"old"


def test_an_interrupt_inside_the_block_leaves_nothing(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_missing_folder_and_folder_in_the_way(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        write_bytes(tmp_path / "no" / "file", b"")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError):
        write_bytes(tmp_path / "taken", b"")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_link_is_replaced_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    outside.chmod(0o666)
    link = tmp_path / "link"
    link.symlink_to(outside)
    write_bytes(link, b"new")
    assert outside.read_bytes() == b"precious" and not link.is_symlink() and link.read_bytes() == b"new"


def test_a_private_file_stays_private_and_exclusive_never_replaces(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"1")
    path.chmod(0o600)
    write_bytes(path, b"2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StoreError) as caught:
        write_bytes(path, b"3", overwrite=False)
    assert caught.value.errno == errno.EEXIST and path.read_bytes() == b"2"


@pytest.mark.parametrize("value", [float("nan"), {"a": [1, float("inf")]}, {"a": object()}, {"a": "\ud800"}])
def test_what_json_cannot_hold_is_refused_before_writing(tmp_path, value):
    path = tmp_path / "file.json"
    path.write_bytes(b"old")
    with pytest.raises(FormatError, match=r"file\.json was not written"):
        write_json(path, value)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file.json"]


def test_json_keeps_characters_as_they_are(tmp_path):
    write_json(tmp_path / "a.json", {"vocab": ["é", "你", "\n"]})
    assert "你".encode() in (tmp_path / "a.json").read_bytes()


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_temporary_file_has_an_owner_until_it_has_its_name(tmp_path, monkeypatch, overwrite):
    """Who looks for what dead writers left, at any moment from the first byte on, leaves it alone."""
    path = tmp_path / "file.json"
    seen = []

    def looking(real):
        def wrapper(*args, **kwargs):
            seen.extend(atomic.abandoned(one) for one in tmp_path.iterdir() if atomic.TEMPORARY.fullmatch(one.name))
            return real(*args, **kwargs)

        return wrapper

    for call in ("fsync", "replace", "link", "unlink"):
        monkeypatch.setattr(os, call, looking(getattr(os, call)))
    with replacing(path, overwrite=overwrite) as file:
        file.write(b"cat")
    assert len(seen) >= 2 and not any(seen) and path.read_bytes() == b"cat"
