"""The journal: whole lines only, in order, whatever happened to the end of the file."""

from __future__ import annotations

import errno
import os
import resource
import threading

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import FormatError
from store import journal, journal_reading
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
    assert found == lines(100, 19_900) and offset == size and bytes_read <= 2 * journal_reading.BLOCK + 1000 < size
    assert tail(path, 0) == [] and tail(path, 10**6) == lines(20_000)


def test_foreign_lines_do_not_hide_the_others(tmp_path):
    path = tmp_path / "events.jsonl"
    long = b'{"x":"' + b"y" * (journal_reading.MAX_LINE + 10) + b'"}'
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


# --- offsets that outlive thinning ------------------------------------------------------------------------------------

class Model:
    """A journal and readers that follow it, and what a list says about them."""

    def __init__(self, path, mark):
        self.path, self.mark, self.written, self.left_out, self.readers = path, mark, 0, set(), []
        self.out = Journal(path)

    def write(self, sizes):
        for size in sizes:
            self.written += 1
            kind = "step" if size % 3 else "evaluation"
            self.out.append({"event": kind, "step": self.written, "text": self.mark * size})
        self.out.flush()

    def steps(self):
        return [line["step"] for line in read(self.path)[0]]

    def thin(self, every, recent):
        before = self.steps()
        journal.thin(self.path, lambda line: line["event"] != "step" or line["step"] % every == 0, recent)
        self.left_out |= set(before) - set(self.steps())

    def attach(self, n):
        lines, offset = tail_with_offset(self.path, n)
        steps = self.steps()
        assert [line["step"] for line in lines] == steps[max(0, len(steps) - n):]
        assert offset == read(self.path)[1] == journal.end(self.path)
        self.readers.append([offset, list(range(1, self.written + 1))])

    def follow(self, number, limit, plain, every=1):
        reader = self.readers[number % len(self.readers)]
        lines, offset = read(self.path, reader[0], limit, every)
        reader[0] = int(offset) if plain else offset
        reader[1] += [line["step"] for line in lines]

    def check(self):
        for reader in self.readers:
            reader[1] += [line["step"] for line in read(self.path, reader[0])[0]]
            assert reader[1] == sorted(set(reader[1])), "a line came twice or out of order"
            assert set(range(1, self.written + 1)) - set(reader[1]) <= self.left_out, "a line that was kept was lost"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_follower_of_a_journal_that_is_thinned_sees_every_kept_line_once(tmp_path_factory, data):
    model = Model(tmp_path_factory.mktemp("thin") / "events.jsonl", data.draw(st.sampled_from("aä")))
    model.readers.append([0, []])
    acts = st.sampled_from(["write", "write", "follow", "follow", "thin", "attach"])
    for act in data.draw(st.lists(acts, min_size=5, max_size=25)):
        if act == "write":
            model.write(data.draw(st.lists(st.integers(0, 90), min_size=1, max_size=40)))
        elif act == "thin":
            model.thin(data.draw(st.sampled_from([2, 3, 8])), data.draw(st.sampled_from([0, 500, 3000])))
        elif act == "attach":
            model.attach(data.draw(st.integers(0, 60)))
        else:
            model.follow(data.draw(st.integers(0, 9)), data.draw(st.sampled_from([None, 1, 500, 4000])),
                         data.draw(st.booleans()))
    model.out.close()
    model.check()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 60), st.just(None)), max_size=80), st.integers(1, 9), st.integers(0, 5),
       st.sampled_from([None, 1, 200, 1000]), st.booleans())
def test_reading_one_step_in_many_is_reading_all_and_picking(tmp_path_factory, steps, every, cut, limit, thinned):
    path = tmp_path_factory.mktemp("every") / "events.jsonl"
    write(path, [{"event": "alarm"} if step is None else {"event": "step", "step": step, "x": "y" * 30}
                 for step in (steps if cut % 2 else [*range(1, 40), *steps, *range(20, 50)])])
    with open(path, "ab") as file:
        file.write(b'\0\0{"event":"step","step":7,"x":0}\nnonsense\n{"event":"step"'[cut:])
    if thinned:
        journal.thin(path, lambda line: line["event"] != "step" or line["step"] % 2 == 0, recent=200)
    picked = [line for line in read(path)[0] if line["event"] != "step" or line["step"] % every == 0
              or "x" not in line]
    found, offset = [], 0
    while True:
        lines, after = read(path, offset, limit, every)
        found += [line for line in lines if line["event"] != "step" or line["step"] % every == 0 or "x" not in line]
        if after == offset:
            break
        offset = after
    assert found == picked and offset == read(path)[1]
    wanted = [line for line in read(path, 0, None, every)[0] if line.get("x")]
    assert all(line["step"] % every == 0 or line["x"] == 0 for line in wanted if line["event"] == "step")


def test_thinning_saves_what_it_says_and_nothing_twice(tmp_path):
    path = tmp_path / "events.jsonl"
    write(path, [{"event": "start", "step": 0, "time": 1.25}, *lines(5000), {"event": "end", "step": 5000}])
    path.chmod(0o600)
    before, size = read(path), path.stat().st_size

    def keep(line):
        return line["event"] != "step" or line["step"] % 64 == 0

    saved = journal.thin(path, keep, recent=1000)
    assert saved == size - path.stat().st_size > size * 0.9
    assert path.stat().st_mode & 0o777 == 0o600 and os.listdir(tmp_path) == [path.name]
    after = read(path)
    assert after[1] == before[1] == size  # the offset counts what was left out
    assert [line for line in before[0] if keep(line)] == [line for line in after[0] if keep(line)]
    assert tail(path, 8) == before[0][-8:] and len(tail(path, 60)) == 60
    assert journal.thin(path, keep, recent=1000) == 0 and journal.thin(path, lambda _: True) == 0
    with pytest.raises(ZeroDivisionError):
        journal.thin(path, lambda line: 1 / 0)
    assert read(path) == after and os.listdir(tmp_path) == [path.name]
    with pytest.raises(StoreError, match="does not exist"):
        journal.thin(tmp_path / "no", keep)


def test_a_writer_notices_that_its_journal_was_thinned(tmp_path):
    path = tmp_path / "events.jsonl"
    with Journal(path) as out:
        for item in lines(3000):
            out.append(item)
        out.flush()
        offset = journal.end(path)
        out.append({"event": "step", "step": 3000})
        assert journal.thin(path, lambda line: line["step"] % 100 == 0, recent=500) > 0
        out.append({"event": "end", "step": 3001})
        out.flush(sync=True)
        assert [line["step"] for line in read(path, offset)[0]] == [3000, 3001]
    assert len(read(path)[0]) < 3000 and orjson.loads(path.read_bytes().splitlines()[-1])["step"] == 3001


def test_another_journal_of_the_same_name_is_read_from_its_start(tmp_path):
    path = tmp_path / "events.jsonl"
    write(path, [{"event": "start", "time": 1.5, "id": "x" * 60}, *lines(9)])
    _, offset = read(path)
    path.unlink()
    write(path, [{"event": "start", "time": 2.5, "id": "x" * 60}, *lines(90)])
    assert read(path, offset) == read(path) and path.stat().st_size > offset
    path.unlink()
    assert read(path, offset) == ([], 0)


@pytest.mark.parametrize("header", [
    {"thinned": {"until": 1 << 61, "missing": 5}}, {"thinned": {"until": -1, "missing": 5}}, {"thinned": None},
    {"thinned": {"until": 50, "missing": 5, "began": 7}}, {"thinned": {"until": 50, "missing": 5, "began": "zz"}},
    {"thinned": {"until": 70, "missing": 1 << 61, "began": ""}}, {"thinned": {"until": 3.5, "missing": True}}])
def test_forged_headers_and_markers_harm_nobody(tmp_path, header):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(orjson.dumps(line, default=str) + b"\n" for line in (header, {"a": 1}, {"b": 2}))
                     + b'{"left_out":{"bytes":-3}}\n{"left_out":{"bytes":' + b"9" * 30 + b"}}\n" + b'{"c":3}\n')
    for offset in (0, 1, 60, 10**6, 1 << 61):
        found, after = read(path, offset)
        for line in (*found, *read(path, after)[0], *read(path, int(after))[0]):
            assert line in ({"a": 1}, {"b": 2}, {"c": 3}) or set(line) <= {"left_out", "thinned"}
    assert {"c": 3} in read(path)[0]
    assert tail(path, 1) == [{"c": 3}]


# --- power cuts and disks that go away --------------------------------------------------------------------------------

def test_blocks_of_nuls_hide_no_whole_line_and_are_cut_off(tmp_path):
    path = tmp_path / "events.jsonl"
    whole = b'{"a":1}\n{"b":2}\n'
    for rest, kept in [(b"\0" * 5000, []), (b'{"c":3}' + b"\0" * 5000, [{"c": 3}]), (b'{"c":' + b"\0" * 3_000_000, []),
                       (b"\0" * 4096 + b'{"c":3}', [{"c": 3}]), (b'{"c"' + b"\0" * 9 + b':3}', [])]:
        path.write_bytes(whole + rest)
        assert read(path) == ([{"a": 1}, {"b": 2}], len(whole)) and tail(path, 1) == [{"b": 2}]
        assert journal.torn(path) == len(rest)
        journal.repair(path)
        assert journal.torn(path) == 0 and journal.read(path, len(whole))[0] == kept
        write(path, [{"d": 4}])
        assert read(path)[0] == [{"a": 1}, {"b": 2}, *kept, {"d": 4}]
        assert path.read_bytes().endswith(b'}\n{"d":4}\n')
    path.write_bytes(b'{"a":1}\n{"b":2\0\0\0\0{"c":3}\n{"d":4}\n')  # a page that never reached the disk
    assert read(path)[0] == tail(path, 9) == [{"a": 1}, {"c": 3}, {"d": 4}]
    path.write_bytes(b"\0" * 8192)
    assert read(path) == ([], 0) and tail(path, 3) == []
    write(path, [{"a": 1}])
    assert path.read_bytes() == b'{"a":1}\n'


def test_a_journal_that_was_taken_away_keeps_its_lines_until_it_is_back(tmp_path):
    path, away = tmp_path / "run" / "events.jsonl", tmp_path / "away"
    path.parent.mkdir()
    out = Journal(path)
    out.append({"a": 1})
    out.flush()
    path.parent.rename(away)
    out.append({"b": 2})
    with pytest.raises(StoreError, match=r"events\.jsonl cannot be written: it or its folder does not exist"):
        out.flush()
    away.rename(path.parent)
    out.append({"c": 3})
    out.close()
    assert read(path)[0] == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_who_waits_for_the_disk_keeps_nobody_from_writing(tmp_path, monkeypatch):
    """A checkpoint's thread syncs the journal while the training goes on."""
    path = tmp_path / "events.jsonl"
    waiting, written, synced = threading.Event(), threading.Event(), []

    def slow(descriptor: int) -> None:
        waiting.set()
        assert written.wait(60)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(journal, "sync", slow)
    out = Journal(path)
    out.append({"a": 1})
    out.flush()
    thread = threading.Thread(target=out.sync)
    thread.start()
    assert waiting.wait(60)
    out.append({"b": 2})
    out.flush()
    assert read(path)[0] == [{"a": 1}, {"b": 2}]
    journal.thin(path, lambda line: True)
    path.rename(tmp_path / "old")  # and the writer may open another file meanwhile
    (tmp_path / "old").rename(path)
    written.set()
    thread.join()
    out.close()
    assert synced == [path.stat().st_size]


def test_one_line_added_to_a_torn_journal_stands_alone(tmp_path):
    path = tmp_path / "control.jsonl"
    journal.append(path, {"command": "pause"})
    assert path.stat().st_mode & 0o777 == 0o600
    with open(path, "ab") as file:
        file.write(b'{"command":"st')  # a face that met a full disk
    journal.append(path, {"command": "stop"})
    assert read(path)[0] == [{"command": "pause"}, {"command": "stop"}]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "precious").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    os.link(tmp_path / "precious", tmp_path / "second name")
    for name in ("pipe", "link", "second name"):
        with pytest.raises(StoreError, match="it is a link or not a regular file"):
            journal.append(tmp_path / name, {})
    assert (tmp_path / "precious").read_bytes() == b"x"
