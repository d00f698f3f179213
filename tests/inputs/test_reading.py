"""Whatever somebody brings becomes a text, or one clear sentence."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import tracemalloc
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import BabyError, NotFound, TextError
from inputs import decoding, reading
from inputs.reading import read_bytes, read_stdin, read_text, read_texts, safe_name


def put(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def refused(call, *words, kind=TextError):
    """The error's message: one sentence that has these words in it."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and message.endswith("."), message
    for word in words:
        assert word in message, message
    return message


@pytest.mark.parametrize(("data", "text", "encoding"), [
    (b"Hello, Pip.\n", "Hello, Pip.\n", "utf-8"),
    ("na\u00efve \u2014 \u4f60\n".encode(), "na\u00efve \u2014 \u4f60\n", "utf-8"),
    (b"\xef\xbb\xbfHello\n", "Hello\n", "utf-8-sig"),
    ("caf\u00e9 au lait".encode("latin-1"), "caf\u00e9 au lait", "latin-1"),
    ("\u201cIt\u2019s caf\u00e9\u201d".encode("cp1252"), "\u201cIt\u2019s caf\u00e9\u201d", "cp1252"),
    ("Hello \u4f60".encode("utf-16"), "Hello \u4f60", "utf-16"),
    (b"\xfe\xff" + "Hello".encode("utf-16-be"), "Hello", "utf-16"),
    ("Hello".encode("utf-32"), "Hello", "utf-32"),
])
def test_encodings(tmp_path, data, text, encoding):
    found = read_text(put(tmp_path, "a.txt", data))
    assert (found.text, found.encoding, found.bytes, found.name) == (text, encoding, len(data), "a")


def test_latin_1_is_said(tmp_path):
    found = read_text(put(tmp_path, "caf.txt", "caf\u00e9".encode("latin-1")))
    assert found.notes == ("caf.txt is not UTF-8; read as Latin-1.",)


def test_line_ends_become_newlines_and_it_is_said(tmp_path):
    found = read_text(put(tmp_path, "a.txt", b"one\r\ntwo\rthree\n\r\n"))
    assert found.text == "one\ntwo\nthree\n\n"
    assert len(found.notes) == 1 and "newline" in found.notes[0]
    assert read_text(put(tmp_path, "b.txt", b"one\n")).notes == ()


def test_gzip_by_what_it_is_and_not_by_its_name(tmp_path):
    packed = gzip.compress(b"Hello ") + gzip.compress(b"again\n") + b"\0\0"
    found = read_text(put(tmp_path, "a.txt.gz", packed))
    assert (found.text, found.name, found.bytes) == ("Hello again\n", "a", len(packed))
    assert read_text(put(tmp_path, "plain", packed)).text == "Hello again\n"
    assert read_text(put(tmp_path, "liar.gz", b"not packed")).text == "not packed"


@pytest.mark.parametrize("damage", [lambda p: p[:-9], lambda p: p[:20] + b"xxxx" + p[24:], lambda p: p + b"junk"])
def test_damaged_gzip(tmp_path, damage):
    packed = gzip.compress(bytes(range(32, 127)) * 20)
    refused(lambda: read_text(put(tmp_path, "a.gz", damage(packed))), "a.gz", "gzip")


def test_a_gzip_bomb_is_refused_without_using_the_memory(tmp_path):
    bomb = put(tmp_path, "bomb.gz", gzip.compress(b"a" * 60_000_000, compresslevel=1))
    tracemalloc.start()
    try:
        refused(lambda: read_text(bomb, limit=3_000_000), "bomb.gz", "3000000")
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_a_large_file_takes_little_more_than_twice_its_size(tmp_path):
    size = 16_000_000
    path = put(tmp_path, "large.txt", b"words \n " * (size // 8))
    tracemalloc.start()
    try:
        assert len(read_text(path).text) == size
        assert tracemalloc.get_traced_memory()[1] < 2.3 * size
    finally:
        tracemalloc.stop()


def test_the_limit_holds_for_files_streams_and_all_texts_together(tmp_path):
    path = put(tmp_path, "a.txt", "x" * 101)
    refused(lambda: read_text(path, limit=100), "a.txt", "100")
    assert read_text(path, limit=101).bytes == 101
    refused(lambda: read_stdin(io.BytesIO(b"x" * 101), limit=100), "standard input")
    refused(lambda: read_texts([path, path], limit=150), "a.txt")


@pytest.mark.parametrize(("data", "words"), [
    (b"", ["empty"]), (b" \n\t\r\n", ["empty"]), (b"\xef\xbb\xbf", ["empty"]), (gzip.compress(b"", mtime=0), ["empty"]),
    (b"\x7fELF\x02\x01\x01\0\0\0", ["binary"]), (b"\x89PNG\r\n\x1a\n" + bytes(range(1, 32)) * 8, ["binary"]),
    (b"abc\x01\x02\x03\x04", ["binary"]), (b"\xff\xfea", ["UTF-16", "byte"]), (b"\xef\xbb\xbfab\xff", ["UTF-8"]),
])
def test_what_is_no_text_is_refused(tmp_path, data, words):
    refused(lambda: read_text(put(tmp_path, "bad.txt", data)), "bad.txt", *words)


def test_what_is_not_there(tmp_path):
    refused(lambda: read_text(tmp_path / "none.txt"), "none.txt", kind=NotFound)
    refused(lambda: read_text(put(tmp_path, "a.txt", "a") / "b"), "a.txt/b", kind=NotFound)
    refused(lambda: read_text(tmp_path / ("n" * 300)), kind=NotFound)
    (tmp_path / "round").symlink_to(tmp_path / "round")
    refused(lambda: read_text(tmp_path / "round"), "round", kind=NotFound)


def test_no_permission(tmp_path, monkeypatch):
    path = put(tmp_path, "secret.txt", "hush")

    def denied(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading, "open", denied, raising=False)  # root may read anything, so the mode alone is no test
    refused(lambda: read_text(path), "secret.txt", "permissions")


def test_devices_and_pipes_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: read_text(tmp_path / "pipe"), "pipe")
    refused(lambda: read_text("/dev/zero"), "/dev/zero")


def test_a_name_cannot_drive_the_terminal(tmp_path):
    message = refused(lambda: read_text(tmp_path / "a\x1b[2Jb\n.txt"), kind=NotFound)
    assert message.isprintable()


def test_a_folder_is_its_texts_sorted_and_joined(tmp_path):
    folder = tmp_path / "My texts"
    put(folder, "b.md", "second\n\n\n")
    put(folder, "a.txt", "first\n")
    put(folder, "c/deep.txt.gz", gzip.compress(b"third"))
    put(folder, "c/nothing.txt", "")
    put(folder, ".hidden.txt", "no")
    put(folder, ".git/x.txt", "no")
    put(folder, "photo.jpg", b"\0")
    (folder / "out.txt").symlink_to(put(tmp_path, "outside.txt", "no"))
    (folder / "loop").symlink_to(folder)
    (folder / "inside.txt").symlink_to(folder / "a.txt")
    found = read_text(folder)
    assert found.text == "first\n\nsecond\n\nthird\n\nfirst\n"
    assert found.name == "My_texts"


def test_a_folder_without_texts_is_an_error(tmp_path):
    put(tmp_path, "photo.jpg", b"\0")
    refused(lambda: read_text(tmp_path), "holds no texts")
    put(tmp_path, "bad.txt", b"\0\0\0")
    refused(lambda: read_text(tmp_path), "bad.txt", "binary")


def test_several_texts_as_one(tmp_path):
    one, two = put(tmp_path, "one.txt", "1\n"), put(tmp_path, "two.txt", "caf\u00e9".encode("latin-1"))
    both = read_texts([one, str(two)])
    assert (both.text, both.name, both.bytes) == ("1\n\ncaf\u00e9\n", "one_two", 6)
    assert len(both.notes) == 1
    assert read_texts([one]) == read_text(one)
    refused(lambda: read_texts([]), "No text")


def test_standard_input(monkeypatch):
    assert read_stdin(io.BytesIO(b"hello\r\n")).text == "hello\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert read_text("-").text == "from a pipe"


def test_bytes_are_read_as_a_file_would_be(tmp_path):
    for name, data in {"a.txt": b"x\r\n", "b.gz": gzip.compress(b"x"), "c": b"caf\xe9"}.items():
        assert read_bytes(name, data) == read_text(put(tmp_path, name, data))


# Read in pieces, given in parts ---------------------------------------------------------------------------------------


def slow_reading(data: bytes) -> tuple[str, str]:
    """(text, encoding) of all bytes at once. ValueError when they are no text."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        first = data[: decoding.PIECE]
        controls = [byte for byte in first if (byte < 32 and chr(byte) not in "\t\n\r\f\x1b") or byte == 127]
        if 0 in data or len(controls) > len(first) / 50:
            raise ValueError
        encoding = "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-8"
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            if encoding == "utf-8-sig":
                raise
            encoding = "cp1252" if any(0x80 <= byte < 0xA0 for byte in data) else "latin-1"
            if set(data) & set(b"\x81\x8d\x8f\x90\x9d"):
                encoding = "latin-1"
    text = data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise ValueError
    return text, encoding


somebodys = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"\xc3\xa9", b"\xe4\xbd\xa0", b"\xf0\x9f\x91\xb6", b"\x93",
                              b"\xe9", b"\x81", b"\0", b" "]), max_size=30).map(b"".join),
    st.tuples(st.text("a\r\n \u0d0a\u0a0d\u00e9\u4f60\U0001f476", max_size=20),
              st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]))
    .map(lambda both: both[0].encode(both[1], "ignore")),
)


@given(somebodys, st.sampled_from([4, 5, 7, 16]), st.booleans(), st.integers(0, 40))
@example(b"\xef\xbb\xbfone\r\ntwo\r\r\nthree", 5, True, 2)
@example(b"plain \xc3\xa9, then \x93curly\x94", 4, False, 0)
@example(b"plain \xc3\xa9, then \xe9", 4, False, 0)
def test_pieces_are_read_as_the_whole(data, piece, packed, cut):
    members = [data[:cut], data[cut:]]
    given = b"".join(gzip.compress(part, mtime=0) for part in members) + b"\0" * (cut % 3) if packed else data
    with mock.patch.object(decoding, "PIECE", piece):
        try:
            text, encoding = slow_reading(data)
        except ValueError:
            if data[:2] != decoding.GZIP or packed:
                with pytest.raises(TextError):
                    read_bytes("any.txt", given)
            return
        found = read_bytes("any.txt", given)
        assert list(found) == list(found), "as often as it is asked for"
        assert (found.text, found.encoding) == (text, encoding)
        assert (found.characters, found.bytes) == (len(text), len(given)) and max(map(len, found)) <= piece + 4
        returns = "\r" in data.decode(encoding)
        assert any("carriage" in note for note in found.notes) == returns


@given(st.lists(st.text("a\n", min_size=1, max_size=9).filter(str.strip), min_size=2, max_size=4))
def test_texts_are_joined_by_a_blank_line(texts):
    with mock.patch.object(decoding, "PIECE", 4):
        whole = reading._joined("all", [read_bytes("a.txt", text.encode()) for text in texts])
        assert whole.text == "\n\n".join(text.rstrip("\n") for text in texts) + "\n"
        assert whole.characters == len(whole.text)


@pytest.mark.parametrize(("data", "place"), [
    (codecs.BOM_UTF16_LE + "ab".encode("utf-16-le") * 400_000 + b"\x00\xdc\x00", 1_600_002),
    (codecs.BOM_UTF8 + "\u4f60".encode() * 400_000 + b"\xff" + b"a" * 10, 1_200_003),
])
def test_where_the_damage_is(data, place):
    refused(lambda: read_bytes("bad.txt", data), f"at byte {place};")


@pytest.mark.parametrize("line", [b"Hello there.\n", b"\xef\xbb\xbfHello there.\r\n", "\U0001f476 \u4f60\n".encode(),
                                  "caf\u00e9\n".encode("latin-1"), codecs.BOM_UTF16_LE + "Hi\n".encode("utf-16-le")])
@pytest.mark.parametrize("packed", [False, True])
def test_a_text_in_a_file_is_not_held(tmp_path, line, packed):
    data = line * (20_000_000 // len(line))
    path = put(tmp_path, "long.txt", gzip.compress(data, 1) if packed else data)
    tracemalloc.start()
    try:
        found = read_text(path)
        assert sum(map(len, found)) == found.characters > 4_000_000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_changes_is_noticed(tmp_path):
    path = put(tmp_path, "a.txt", "one\n" * 200_000)
    found = read_text(path)
    parts = iter(found)
    next(parts)
    with open(path, "a") as file:
        file.write("two\n")
    refused(lambda: list(parts), "a.txt", "changed")
    refused(lambda: found.text, "a.txt", "changed")
    assert read_text(path).text.endswith("two\n")
    path.unlink()
    refused(lambda: found.text, "a.txt", kind=NotFound)


@pytest.mark.parametrize(("name", "stem"), [
    ("Hello world", "Hello_world"), ("", "text"), ("...", "text"), (".profile", "profile"),
    ("../../etc/passwd", "etc_passwd"),
    ("CON", "text_CON"), ("nul.txt", "text_nul.txt"), ("com1", "text_com1"), ("caf\u00e9", "cafe"), ("\u4f60", "text"),
    ("a" * 200, "a" * 80), ("a\x00b\n", "a_b"), ("console", "console"), ("- - -", "text"),
])
def test_safe_names(name, stem):
    assert safe_name(name) == stem


@given(st.text(max_size=200))
def test_any_name_becomes_a_safe_one(name):
    stem = safe_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}", stem)
    assert stem.split(".")[0].lower() not in reading._DEVICES
    assert safe_name(stem) == stem


@given(st.binary(max_size=300))
def test_any_bytes_are_a_text_or_a_sentence(data):
    try:
        found = read_bytes("any.txt", data)
    except BabyError as error:
        assert "any.txt" in str(error) and str(error).endswith(".")
    else:
        assert (found.text.strip() and "\r" not in found.text and "\0" not in found.text) or found.encoding != "utf-8"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), min_size=1, max_size=200),
       st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_any_text_comes_back(text, encoding):
    # A text that begins with a mark of its own is read as if the mark were the file's.
    if text.strip() and not text.startswith("\ufeff"):
        assert read_bytes("any.txt", text.encode(encoding)).text == text
