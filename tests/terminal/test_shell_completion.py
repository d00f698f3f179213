"""The completion scripts in real shells: what Tab makes of a line is what the program gets, and nothing is run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import until

from babytui.cli.completion import SCRIPTS
from store.workspace import Workspace, new_guid

sys.path.insert(0, str(Path(__file__).parent))
from pty_app import PtyApp

ROOT = Path(__file__).resolve().parents[2]
STARTS = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}
BEFORE = {"bash": "PS1='ready''> '; source $SCRIPT\n",
          "zsh": "PS1='ready''> '; autoload -Uz compinit; compinit -u -D; source $SCRIPT\n",
          "fish": "function fish_prompt; echo -n 'ready''> '; end; source $SCRIPT\n"}
NAMES = {"qa": "qa two words", "qb": "qb it's \"so\"", "qc": "qc $(touch ran)", "qd": "qd `touch ran`; touch ran & x",
         "qe": "qe bang! #h *?[a-z] {b,c} <in >out | ~ =$HOME", "qf": "qf größe 猫"}
"""By how they begin."""
# the program as the shells find it: it completes, and otherwise writes down what it was given
PROGRAM = """#!{python}
import json, sys
sys.path.insert(0, {root!r})
if sys.argv[1:2] == ["complete"]:
    from babytui.__main__ import main
    sys.exit(main())
with open({record!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
"""
# fish has to be in a session whose terminal this is
IN_TERMINAL = ("import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
               "os.execvp(sys.argv[1], sys.argv[1:])")
Typed = Callable[[bytes], list[str]]


def put_model(workspace: Workspace, name: str) -> str:
    guid = new_guid()
    workspace.path("config", guid).write_text(json.dumps({"babytui_name": name}))
    workspace.path("model", guid).write_text("{}")
    return guid


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a workspace of models and texts with all sorts of names, and the program."""
    workspace = Workspace(tmp_path / "w").ensure()
    for name in NAMES.values():
        put_model(workspace, name)
    put_model(workspace, "evil\x1b]0;owned\x07")
    (workspace.inputs / "my poems.txt").write_text("a")
    (workspace.inputs / "new\nline\x1b[31m.txt").write_text("a")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "my $(touch ran) config.json").write_text("{}")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "babytui"
    program.write_text(PROGRAM.format(python=sys.executable, root=str(ROOT), record=str(tmp_path / "given")))
    program.chmod(0o755)
    return tmp_path


@pytest.fixture(params=list(STARTS))
def terminal(request: pytest.FixtureRequest, place: Path) -> Iterator[PtyApp]:
    """A shell with its completion script read, at its prompt."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (place / "script").write_text(SCRIPTS[shell])
    environment = {"PATH": f"{place / 'bin'}:/usr/local/bin:/usr/bin:/bin", "HOME": str(place), "LC_ALL": "C.UTF-8",
                   "SCRIPT": str(place / "script"), "BABYTUI_WORKSPACE": str(place / "w"),
                   "XDG_CONFIG_HOME": str(place / "config"), "XDG_DATA_HOME": str(place / "data")}
    words = [sys.executable, "-c", IN_TERMINAL, "env", "-C", str(place), shell, *STARTS[shell]]
    with PtyApp(words, 100, 40, environment) as app:
        app.type(BEFORE[shell].encode())
        app.wait_for(b"ready> ", 30)
        yield app
        os.killpg(app.process.pid, signal.SIGHUP)  # as when a window is closed; a shell ignores the other signals


@pytest.fixture
def typed(terminal: PtyApp, place: Path) -> Typed:
    """`typed(keys)`: the words that the program gets when these keys and Enter are typed."""

    def do(keys: bytes) -> list[str]:
        record = place / "given"
        record.unlink(missing_ok=True)
        terminal.type(keys + b"\r")

        def written() -> bool:
            terminal.read(0.02)
            return record.exists() and record.read_text().endswith("\n")

        until(written, f"{keys!r} on {bytes(terminal.output[-300:])!r}", 30)
        return [str(word) for word in json.loads(record.read_text())]

    return do


def test_names_reach_the_program_as_they_are(typed: Typed, place: Path) -> None:
    for begun, name in NAMES.items():
        for quote in ("", "'", '"'):
            assert typed(f"babytui info {quote}{begun}\t".encode()) == ["info", name]
    assert not (place / "ran").exists()


def test_words_options_and_values(typed: Typed) -> None:
    assert typed(b"babytui fine\t") == ["finetune"]
    assert typed(b"babytui inputs fe\ttiny-sh\t") == ["inputs", "fetch", "tiny-shakespeare"]
    assert typed(b"babytui train --pres\t12\t") == ["train", "--preset", "12m"]
    assert typed(b"babytui train --preset=12\t") == ["train", "--preset=12m"]
    assert typed(b"babytui train --set c_att\tgl\t") == ["train", "--set", "c_attention=gla"]
    assert typed(b"babytui --no-co\ttrain --set n_layers=2 --input my\t") == [
        "--no-color", "train", "--set", "n_layers=2", "--input", "my poems"]
    assert typed(b"babytui completion fi\t") == ["completion", "fish"]


def test_files_are_the_shells_own(typed: Typed, place: Path) -> None:
    assert typed(b"babytui train --config a\\ f\tmy\t") == ["train", "--config", "a folder/my $(touch ran) config.json"]
    assert not (place / "ran").exists()


def test_another_workspace_is_looked_into(typed: Typed, place: Path) -> None:
    put_model(Workspace(place / "other").ensure(), "zz of the other")
    assert typed(b"babytui info --workspace other zz\t") == ["info", "--workspace", "other", "zz of the other"]


def test_a_list_of_values_drives_no_terminal(terminal: PtyApp, place: Path) -> None:
    """Everything that fits is shown; of strangers' names only what can be."""
    mark = len(terminal.output)
    terminal.type(b"babytui info \t\t")
    terminal.wait_for(b"two", 30, mark)
    terminal.wait_for(b"last", 30, mark)
    mark = len(terminal.output)
    terminal.type(b"\x15babytui train --input \t\t")
    terminal.wait_for(b"rhymes", 30, mark)
    for wrong in (b"\x1b]0;owned", b"new\nline", b"\x1b[31m.txt"):
        assert wrong not in terminal.output
    assert not (place / "ran").exists()
