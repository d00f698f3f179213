"""The shell without a terminal: plain lines through pipes, its own commands, and what `babytui` says for the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from babytui import actions, settings
from babytui.actions import SHELL
from babytui.capture import OUT, caught
from babytui.completion import SAMPLER
from babytui.history import History
from babytui.shell.shell import Shell, command_of

ROOT = Path(__file__).resolve().parents[3]
REPL = [sys.executable, "-m", "babytui", "repl"]


def environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT), **more}


def piped(home: Path, lines: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*REPL, *words], input=lines, capture_output=True, text=True, timeout=120, check=False,
                          env=environment(home, **env), cwd=home)


@pytest.fixture
def shell(nest: Any, home: Path) -> Shell:
    return Shell(nest[0], history=History("prompts", home))


# --- which lines are commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "command"), [
    ("/list", "list"), ("  /list ", "list"), ("/", "help"), ("list", ""), ("//list", ""), ("a /list", ""),
    ("babytui attach abc", "attach abc"), ("babytui is nice", ""), ("babytui", ""), ("/inputs list", "inputs list"),
])
def test_commands_and_texts(line, command):
    assert command_of(line) == command


# --- replies -------------------------------------------------------------------------------------------------------


def test_a_text_is_continued_as_by_inference(shell, command, nest):
    workspace, guid = nest
    with caught() as said:
        assert shell.take("/set seed 3") == shell.take("/set tokens 40") == 0
        assert shell.take("The c") == 0
    want = command("inference", guid, "--prompt", "The c", "--tokens", 40, "--seed", 3, "--no-save",
                   "--workspace", workspace.root)
    assert said.text(OUT).split("\n", 2)[2] == want.out + "\n"
    assert list((workspace.root / "outputs").glob("completion_*_2*")) == []


def test_again_and_on(shell):
    with caught() as said:
        assert shell.take("/continue") == 2 and shell.take("/regenerate") == 2
        assert "Nothing was written" in said.text()
        shell.take("/set tokens 5")
        said.pieces.clear()
        shell.take("The")
        first = said.text(OUT)
        said.pieces.clear()
        shell.take("/continue")
        assert len(said.text(OUT)) == 6, "only what is new"
        said.pieces.clear()
        shell.take("/regenerate")
        assert said.text(OUT).startswith("The") and len(said.text(OUT)) == len(first)


def test_unknown_symbols_are_refused_or_left_out(shell):
    with caught() as said:
        assert shell.take("The é cat") == 1
        assert "does not know 'é'" in said.text() and "/set skip_unknown on" in said.text()
        said.pieces.clear()
        shell.take("/set skip_unknown on")
        said.pieces.clear()
        assert shell.take("The é cat") == 0 and said.text(OUT).startswith("The  cat")
        assert shell.missing("é?") and not shell.missing("The")


def test_two_slashes_are_a_text(shell):
    with caught() as said:
        assert shell.take("//x") == 1
    assert "does not know '/'" in said.text()


def test_ctrl_c_stops_the_reply_and_not_the_shell(shell, monkeypatch):
    shell.sampler["tokens"] = 100_000
    with caught() as said:
        def write(where: str, text: str, take: Any = said.take) -> None:
            take(where, text)
            if len(said.pieces) == 20:
                raise KeyboardInterrupt

        said.take = write
        assert shell.take("The") == 130
    assert "stopped" in said.text() and not shell.leaving
    with caught():
        shell.sampler["tokens"] = 3
        assert shell.take("The") == 0


# --- its own commands ----------------------------------------------------------------------------------------------


def test_settings_of_replies(shell):
    with caught() as said:
        assert shell.take("/set temperature 0.5") == 0 and shell.value("temperature") == 0.5
        assert shell.take("/set top-k 7") == 0 and shell.value("top_k") == 7
        assert shell.take("/set no_cache on") == 0 and shell.value("no_cache") is True
        assert shell.take("/set temperature default") == 0
        assert shell.value("temperature") == settings.get("sampler.temperature")
        said.pieces.clear()
        assert shell.take("/set --json") == 0
        assert json.loads(said.text(OUT)) == {name: shell.value(name) for name in SAMPLER}
        for wrong in ("/set temperature hot", "/set temperature 1000", "/set speed 3", "/set speed", "/set no_cache 3"):
            said.pieces.clear()
            assert shell.take(wrong) == 2 and said.text().count("\n") == 1, wrong


def test_every_command_of_the_registry_is_listed_and_explained(shell):
    with caught() as said:
        assert shell.take("/help") == 0
        for action in actions.offered(SHELL):
            assert f"/{action.name} " in said.text(OUT) and action.help in said.text(OUT)
        for action in actions.offered(SHELL):
            said.pieces.clear()
            assert shell.take(f"/help {action.name}") == 0
            assert said.text(OUT).startswith(f"usage: /{action.name}"), action.name
            assert all(argument.metavar is None or argument.metavar in said.text(OUT) or argument.choices
                       for argument in action.arguments)
        assert shell.take("/help nothing") == 2 and shell.take("/help list more") == 2


def test_a_model_is_chosen(shell, nest):
    with caught() as said:
        assert shell.name == "tiny" and shell.loaded is None
        assert shell.take("/model --json") == 0 and json.loads(said.text(OUT))["guid"] == nest[1]
        assert shell.take("/model baby") == 0 and shell.name != "tiny"
        assert shell.take("/model nobody") == 1 and shell.name != "tiny"
        assert shell.take("/model tiny") == 0 and shell.name == "tiny"


def test_history_and_leaving(shell):
    shell.history.add("The cat")
    shell.history.add("/list")
    with caught() as said:
        assert shell.take("/history cat") == 0 and said.text(OUT) == "The cat\n"
        assert shell.take("/history --forget") == 0 and shell.history.entries == []
        assert shell.take("/follow all") == 0 and shell.follow == "all"
        assert shell.take("/quit") == 0 and shell.leaving


# --- through a pipe --------------------------------------------------------------------------------------------------


def test_a_pipe_gets_what_the_command_line_prints(nest, home, command):
    workspace, guid = nest
    done = piped(home, "/list --json\n\n/info tiny --json\n", "--workspace", str(workspace.root))
    assert done.returncode == 0 and done.stderr == ""
    want = [command(*words, "--json", "--workspace", workspace.root).data for words in (["list"], ["info", guid])]
    assert [json.loads(line) for line in done.stdout.splitlines()] == want


def test_replies_through_a_pipe(nest, home):
    workspace, _ = nest
    lines = "/set seed 1 -q\n/set tokens 9 -q\nThe \\\ncat\n"
    done = piped(home, lines, "--workspace", str(workspace.root), "-q")
    shown = done.stdout.split("\n", 2)[2]
    assert shown.startswith("The \ncat") and len(shown) == len("The \ncat") + 9 + 1
    assert done.stderr == "" and "\x1b" not in done.stdout and done.returncode == 0


@pytest.mark.parametrize(("lines", "code"), [("/list\n", 0), ("/lsit\n/list\n", 2), ("/info nobody\n/lsit\n", 1),
                                             ("/quit\n/lsit\n", 0), ("/list", 0), ("", 0)])
def test_the_exit_code_is_that_of_the_first_failure(nest, home, lines, code):
    done = piped(home, lines, "--workspace", str(nest[0].root))
    assert done.returncode == code
    assert "Traceback" not in done.stderr and done.stderr.count("babytui:") == (lines.count("lsit") + lines.count(
        "nobody") if "quit" not in lines else 0)


def test_what_is_not_utf_8_is_told(nest, home):
    done = subprocess.run([*REPL, "--workspace", str(nest[0].root)], input=b"The \xff\xfe\n/list\n", check=False,
                          capture_output=True, timeout=120, env=environment(home), cwd=home)
    assert done.returncode == 1 and b"does not know" in done.stderr and b"tiny" in done.stdout


def test_questions_need_yes_in_a_pipe(nest, home):
    workspace, _ = nest
    done = piped(home, "/delete tiny\ny\n", "--workspace", str(workspace.root))
    assert done.returncode == 2 and "--yes" in done.stderr and workspace.entries()
    assert piped(home, "/delete tiny --yes\n", "--workspace", str(workspace.root)).returncode == 0
    assert workspace.entries() == []


def test_one_reader_that_has_enough(nest, home):
    process = subprocess.Popen([*REPL, "--workspace", str(nest[0].root)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(home), cwd=home)
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.write(b"/list\n" * 50)
    process.stdin.close()
    error = process.stderr.read()
    process.wait(60)
    assert b"Traceback" not in error


def test_a_signal_ends_a_pipe(nest, home):
    process = subprocess.Popen([*REPL, "--workspace", str(nest[0].root)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(home), cwd=home)
    assert process.stdin and process.stdout
    process.stdin.write(b"/list\n")
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    until(lambda: process.poll() is not None, "the shell ends")
    assert process.returncode == 130


def test_it_starts_without_arrays_and_a_toolkit(nest, home):
    """A shell that only lists needs neither."""
    code = ("import io, sys\nsys.stdin = io.StringIO('/list\\n/help\\n/runs\\n')\nfrom babytui.__main__ import main\n"
            f"code = main(['repl', '--workspace', {str(nest[0].root)!r}])\n"
            "assert not {'numpy', 'textual', 'prompt_toolkit'} & set(sys.modules)\nsys.exit(code)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120,
                          env=environment(home), cwd=home)
    assert done.returncode == 0, done.stderr
