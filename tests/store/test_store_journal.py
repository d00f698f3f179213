"""The journal: whole lines only, in order, whatever happened to the end of the file."""

from __future__ import annotations

import errno
import os
import resource

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import FormatError
from store import journal
from store.atomic import StoreError
from store.journal import Journal, read, tail, tail_with_offset


def lines(n: int, start: int = 0) -> list[dict]:
    return [{"event": "step", "step": i, "text": "ä\n"} for i in range(start, start + n)]


def write(path, items) -> None:
    with Journal(path) as out:
        for item in items:
            out.append(item)


def test_append_is_buffered_until_flush(tmp_path):
    path = tmp_path / "events.jsonl"
    out = Journal(path)
    out.append({"a": 1})
    assert read(path) == ([], 0)
    out.flush(sync=True)
    found, offset = read(path)
    assert found == [{"a": 1}]
    out.append({"a": np.float32(0.1), "b": float("nan")})
    out.close()
    out.close()
    assert read(path, offset)[0] == [{"a": 0.1, "b": None}]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 12), st.data())
def test_a_torn_tail_is_ignored_and_repaired(tmp_path_factory, count, data):
    path = tmp_path_factory.mktemp("j") / "events.jsonl"
    write(path, lines(count))
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    complete = cut > 0 and cut < len(whole) and whole[cut:cut + 1] == b"\n"  # only the newline is missing
    assert read(path)[0] == lines(kept)
    assert tail(path, 100) == lines(kept)
    write(path, [{"next": True}])
    assert read(path)[0] == [*lines(kept + complete), {"next": True}]
    assert path.read_bytes().endswith(b"\n")


def test_a_torn_line_longer_than_any_of_ours_is_cut(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a":1}\n' + b"x" * 3_000_000)
    write(path, [{"b": 2}])
    assert read(path)[0] == [{"a": 1}, {"b": 2}]


def test_following_by_offset_sees_every_line_once(tmp_path):
    path = tmp_path / "events.jsonl"
    offset, seen = 0, []
    with Journal(path) as out:
        for item in lines(300):
            out.append(item)
            if item["step"] % 7 == 0:
                out.flush()
                found, offset = read(path, offset, limit=50)
                seen += found
    while found := read(path, offset, limit=200):
        if not found[0]:
            break
        seen, offset = seen + found[0], found[1]
    assert seen == lines(300) and offset == path.stat().st_size


def test_tail_reads_only_the_end(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    write(path, lines(20_000))
    size, bytes_read, real = path.stat().st_size, 0, os.pread

    def counted(*args):
        nonlocal bytes_read
        bytes_read += args[1]
        return real(*args)

    monkeypatch.setattr(os, "pread", counted)
    found, offset = tail_with_offset(path, 100)
    assert found == lines(100, 19_900) and offset == size and bytes_read <= 2 * journal._BLOCK < size
    assert tail(path, 0) == [] and tail(path, 10**6) == lines(20_000)


def test_foreign_lines_do_not_hide_the_others(tmp_path):
    path = tmp_path / "events.jsonl"
    long = b'{"x":"' + b"y" * (journal._MAX_LINE + 10) + b'"}'
    path.write_bytes(b"\n".join([b'{"a":1}', b"garbage", b"[1]", b"", long, b"[" * 5000, b'{"b":2}', b""]))
    assert read(path)[0] == tail(path, 100) == [{"a": 1}, {"b": 2}]


def test_missing_replaced_and_odd_files(tmp_path):
    assert read(tmp_path / "no") == ([], 0) and tail(tmp_path / "no", 3) == []
    path = tmp_path / "events.jsonl"
    write(path, lines(2))
    assert read(path, 10**6)[0] == lines(2)  # a shorter journal took its place
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not a regular file"):
        read(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(StoreError):
        Journal(tmp_path / "link")
    with Journal(path) as out, pytest.raises(FormatError, match="not plain data"):
        out.append({"a": object()})


def test_a_full_disk_tears_no_line_and_loses_none(tmp_path):
    path = tmp_path / "events.jsonl"
    write(path, lines(3))
    size = path.stat().st_size
    out = Journal(path)
    for item in lines(50, 3):
        out.append(item)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))  # the disk takes 100 bytes more
    try:
        with pytest.raises(StoreError) as caught:
            out.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert path.stat().st_size == size
    out.append({"late": 1})
    out.close()
    assert read(path)[0] == [*lines(53), {"late": 1}]


def test_two_writers_do_not_mix(tmp_path):
    path = tmp_path / "control.jsonl"
    with Journal(path) as a, Journal(path) as b:
        for i in range(100):
            for name, out in (("a", a), ("b", b)):
                out.append({"who": name, "i": i})
                out.flush()
    assert len(read(path)[0]) == 200
    assert all(orjson.loads(line) for line in path.read_bytes().splitlines())
