"""One guard in front of standard output and standard error, and no way around it."""

from __future__ import annotations

import ast
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import traceback
import unicodedata
from pathlib import Path

import pytest
from hostile import SEQUENCES, evil
from hypothesis import given, settings
from hypothesis import strategies as st

from babytui import actions
from babytui.cli.output import Output, table
from babytui.streams import Code, Guard, behind, guarded, send
from babytui.visible import cells, cut, visible

ROOT = Path(__file__).resolve().parents[2]


class Tty(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="backslashreplace", newline="")

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


@pytest.fixture
def terminals(monkeypatch):
    """Call it: pytest puts its own streams in place between a fixture and its test."""

    def put() -> tuple[Tty, Tty]:
        out, err = Tty(), Tty()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return put


def live(text: str, keep: str = "\n") -> set[str]:
    return {c for c in text if c not in keep and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


def test_whoever_prints_prints_marks(terminals):
    out, err = terminals()
    with guarded():
        print(evil("print"))
        sys.stdout.writelines([evil("lines"), "\n"])
        print(evil("error"), file=sys.stderr)
        try:
            raise RuntimeError(evil("raised"))
        except RuntimeError:
            traceback.print_exc()
    assert not live(out.text) and not live(err.text)
    for word, text in (("print", out.text), ("lines", out.text), ("error", err.text), ("raised", err.text)):
        assert f"{word}␛[31m" in text
    assert sys.stdout is out and sys.stderr is err


def test_a_pipe_gets_the_exact_text_and_errors_are_marked_everywhere(monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with guarded():
        print(evil("data"), end="")
        print(evil("said"), end="", file=sys.stderr)
    out.flush()
    err.flush()
    assert out.buffer.getvalue().decode() == evil("data")
    assert not live(err.buffer.getvalue().decode())


def test_only_our_own_sequences_are_codes():
    for good in ("\x1b[33m", "\x1b[0m", "\r", "\x1b[K", "\r\x1b[K", "\x1b[12A\r\x1b[J", "\x1b[3B\r", "\n", ""):
        assert Code(good) == good
    for bad in [*(text for name, text in SEQUENCES.items() if name != "colour"), "x", "\x1b[33mx", "\x1b[2J\x1b[H"]:
        with pytest.raises(ValueError, match="is not a sequence"):
            Code(bad)


def test_a_code_that_was_joined_is_text_again(terminals):
    out, _ = terminals()
    with guarded():
        sys.stdout.write(Code("\x1b[1m"))
        sys.stdout.write(Code("\x1b[1m") + "joined")
        send(sys.stdout, Code("\x1b[0m"), "\x1b[31m", Code("\r"))
    assert out.text == "\x1b[1m␛[1mjoined\x1b[0m␛[31m\r"


def test_every_way_out_of_output_is_safe(terminals):
    """With the guard and without it: a verb may be called by something else than our command."""
    out, err = terminals()
    for _ in range(2):
        said = Output(color=True)
        said.data({"name": evil("data") + "\x7f"})
        for way in (said.print, said.value, said.say, said.warn, said.alarm, said.line):
            way(evil(way.__name__) + "\nforged line")
        said.clear()
        with guarded():
            said.alarm(evil("again"))
    for text in (out.text, err.text):
        assert "␊forged line" in text and "\nforged line" not in text
    Output().write(evil("piece") + "\nof two lines")
    assert out.text.endswith("\nof two lines") and not live(out.text)
    shown = err.text.replace("\x1b[33m", "").replace("\x1b[0m", "").replace("\r\x1b[K", "").replace("\x1b[K", "")
    assert not live(shown.replace("\r", ""))
    assert json.loads(out.text.split("\n")[0])["name"] == evil("data") + "\x7f"


def test_raw_is_raw(terminals):
    out, _ = terminals()
    with guarded():
        Output().write(evil("raw"), raw=True)
    assert out.text == evil("raw")


def test_a_path_in_a_pipe_is_the_path(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    monkeypatch.setattr(sys, "stdout", out)
    name = os.fsdecode(b"/tmp/\xff\x1b[31m\xe2\x80\xae.txt")
    with guarded():
        Output().value(name)
    assert out.buffer.getvalue() == b"/tmp/\xff\x1b[31m\xe2\x80\xae.txt\n"


def test_tables_stay_aligned():
    names = ["NAME", "ascii", "\x1b[31m\u202e", "日本", "e\u0301", "two\nlines"]
    rows = [(name, str(n)) for n, name in enumerate(names)]
    lines = table(rows, right=(1,))
    assert len({cells(line) for line in lines}) == 1 and len(lines) == len(rows)


@given(st.text(max_size=40), st.integers(0, 50))
def test_cut_fits(text, room):
    shown = cut(text, room)
    assert cells(shown) <= room and not live(shown, "\u200c\u200d")
    assert shown == visible(text, newlines=False) or room == 0 or shown.endswith("…")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@settings(max_examples=20, deadline=None)
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
                      max_size=3))
def test_copied_command_lines_mean_the_same_and_are_printable(shell, words):
    """The reference is the shell itself."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    given_words = [*words, "it's\x1b[201~\rrm -rf x\\n", "\x1bab", "\u202eé", "'\x7f'"]
    line = actions.command_line("delete", {"guid": given_words})
    assert line.isprintable() and line.startswith("babytui delete ")
    script = "printf '%s\\0' " + line.removeprefix("babytui delete ")
    told = subprocess.run([shell, "-c", script], capture_output=True, check=True, timeout=120,
                          env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
    assert told.decode().split("\0")[:-1] == given_words


def test_ordinary_command_lines_are_as_ever():
    assert actions.command_line("train", {"prompt": "It's é", "name": "a b"}) == shlex.join(
        ["babytui", "train", "--name", "a b", "--prompt", "It's é"])


# --- no way around it -------------------------------------------------------------------------------------------------

_MAY = {  # who may get at the streams behind the guard, and why
    "babytui/streams.py": "the guard itself",
    "babytui/cli/output.py": "exact text in a pipe and with --raw",
    "babytui/cli/main.py": "a broken pipe is replaced by /dev/null",
    "babytui/ranks.py": "the terminal of an MPI launcher that passes nothing on; marks only (test_mpi_ranks.py)",
    "babytui/shell/session.py": "the line editor, which paints; it filters every character (tests/babytui/shell/)",
}


def _ways_around(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("__stdout__", "__stderr__", "_stream"):
            found.add(node.attr)
        if isinstance(node, ast.Attribute) and node.attr in ("buffer", "detach", "fileno") and isinstance(
                node.value, ast.Attribute) and node.value.attr in ("stdout", "stderr"):
            found.add(f"{node.value.attr}.{node.attr}")
        if isinstance(node, ast.Name) and node.id == "behind":
            found.add("behind")
        if isinstance(node, ast.Constant) and node.value == "/dev/tty":
            found.add("/dev/tty")
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("write", "open",
                "fdopen") and node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value in (1, 2)):
            found.add(f"descriptor {node.args[0].value}")
    return found


def test_nobody_goes_around_the_guard():
    sizes = {"stderr.fileno", "stdout.fileno"}  # asked how wide they are
    for path in sorted((ROOT / "babytui").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        ways = _ways_around(ast.parse(path.read_text(encoding="utf-8"))) - sizes
        assert not ways or name in _MAY, f"{name}: {ways}"


def test_every_process_of_ours_begins_behind_it(monkeypatch, home):
    """`babytui`, the worker and the conductor have one entry."""
    from babytui import __main__ as entry

    seen = []
    monkeypatch.setattr(entry, "_main", lambda arguments: seen.append((sys.stdout, sys.stderr)) or 0)
    for words in (["list"], ["worker", "x"], ["conduct", "x"]):
        entry.main(words)
    assert all(isinstance(stream, Guard) for pair in seen for stream in pair) and len(seen) == 3


def test_bare_finds_what_is_behind():
    stream = io.StringIO()
    assert behind(Guard(stream)) is stream and behind(stream) is stream
