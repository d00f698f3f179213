"""No text of a model, a file or an argument drives the terminal: every verb on a stranger's workspace, in a real pty.

What was sent is judged twice: by taking away the few sequences that are ours, and by tmux, which would obey the others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import hostile
import pytest
from hostile import BAKE_OFF, CLI, GUID, RUN, SEQUENCES, TEXT, driven, evil

from babytui import actions, runs
from babytui.cli import parser
from store import journal
from store.lock import Lock
from store.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from pty_app import PtyApp

ROOT = Path(__file__).resolve().parents[2]
PYTHON = [sys.executable, "-P", "-m", "babytui"]
EVIL = evil("given")
SMALL = [word for name, value in hostile.TINY.items() for word in ("--set", f"{name}={value}")]
LEARN = ["--input", TEXT.removesuffix(".txt"), "--steps", "3"]

# Every verb, with what it needs so that it says much: (what is typed into its question, what must be seen, words).
VERBS: dict[str, list[tuple[str, str, list[str]]]] = {
    "train": [("", "The cat ⟨U+202E⟩s", [*SMALL, *LEARN, "--prompt", "The cat \u202es"]),
              ("", "n␛[31m", [*SMALL, *LEARN, "--name", "n\x1b[31m"]), ("", "forged", ["--config", EVIL]),
              ("", "key␛[31m", ["--config", "{root}/own.json"]), ("", "given␛[31m", ["--set", EVIL]),
              ("", "given␛[31m", ["--preset", EVIL]), ("", "given␛[31m", ["--input", EVIL])],
    "finetune": [("", "learns text_0", [GUID, *LEARN]), ("", "given␛[31m", [GUID, *LEARN, "--freeze", EVIL])],
    "inference": [("", "clipboard␛]52;c;b3duZWQ=␇", [GUID, "--tokens", "400", "--seed", "1"]),
                  ("", "␛", [GUID, "--prompt", EVIL]), ("", "clipboard\\u001b", [GUID, "--tokens", "400", "--json"]),
                  ("", "given␛[31m", [EVIL])],
    "info": [("", "dataset␛[31m", [GUID]), ("", "dataset\\u001b", [GUID, "--json"]), ("", "name in its file", [RUN])],
    "list": [("", "dataset␛[31m", []), ("", "dataset\\u001b", ["--json"])],
    "delete": [("n\n", "w␛]0;root␇", [GUID]), ("", "␛]0;root␇", [GUID, RUN, "--yes"])],
    "trash": [("", "␛]0;root␇", [])],
    "trash restore": [("", "␛]0;root␇", [EVIL])],
    "trash empty": [("", "␛]0;root␇", [])],
    "estimate": [("", "text_0", [*SMALL, *LEARN]), ("", "given␛[31m", ["--input", EVIL])],
    "inputs list": [("", "text␛]0;text␇", [])],
    "inputs add": [("", "␛]0;root␇", ["{root}/inputs/" + TEXT, "--name", "added\x1b]0;"]), ("", "given␛[31m", [EVIL])],
    "inputs fetch": [("", "given␛[31m", [EVIL])],
    "runs": [("", "runner␛[31m", []), ("", "runner\\u001b", ["--json"])],
    "attach": [("", "end␛[31m", [RUN])],
    "pause": [("", "runner␛[31m", [RUN])],
    "resume": [("", "source", [RUN])],
    "stop": [("", "runner␛[31m", [RUN])],
    "checkpoint": [("", "runner␛[31m", [RUN])],
    "rate": [("", "runner␛[31m", [RUN, "0.001"]), ("", "given␛[31m", [EVIL, "0.001"])],
    "curve": [("", "train 3.500", [RUN]), ("", "nothing is known yet of how", [RUN, GUID]),
              ("", "runner\\u001b", [RUN, "--json"]), ("", "given␛[31m", [EVIL])],
    "candidates": [("", "␛", [GUID]), ("", "␛", [GUID, "--prompt", EVIL]), ("", "\\u001b", [GUID, "--json"])],
    "scrub": [("", "given␛[31m", [EVIL, "--prompt", "The"]), ("", "␛", [GUID, "--prompt", EVIL])],
    "conversation": [("", "clipboard␛]52", [GUID]), ("", "**Reply**", [GUID, "--form", "markdown"]),
                     ("", "clipboard\\u001b", [GUID, "--json"]), ("", "given␛[31m", [EVIL])],
    "compare": [("", "dataset␛[31m", [GUID, RUN]), ("", "given␛[31m", [GUID, EVIL]),
                ("", "\\u001b", [GUID, RUN, "--json"])],
    "rename": [("", "n␛[31m", [GUID, "n\x1b[31m"]), ("", "at most 60", [GUID, EVIL])],
    "annotate": [("", "␛", [GUID, EVIL]), ("", "given␛[31m", [EVIL, "a note"])],
    "export": [("", "\\u202egnp.exe", [GUID, "--to", EVIL]), ("", "given␛[31m", [EVIL])],
    "import": [("", "\\u2028", [EVIL])],
    "look": [("", "clipboa…", [GUID, "--prompt", "a clipboard" + SEQUENCES["clipboard"] + " b"]),
             ("", "␛", [GUID, "--prompt", EVIL]),
             ("", "at least two tokens", [GUID, "--text", "{root}/inputs/" + TEXT, "--skip-unknown"]),
             ("", "clipboard\\u001b", [GUID, "--prompt", "a clipboard" + SEQUENCES["clipboard"] + " b", "--json"])],
    "tensors": [("", "wte_weight", [GUID]), ("", "given␛[31m", [GUID, EVIL])],
    "settings": [("", "theme", []), ("", "given␛[31m", [EVIL]), ("", "given␛[31m", ["theme", EVIL])],
    "bakeoff": [("", "given␛[31m", ["--attention", EVIL]), ("", "given␛[31m", ["--arch", EVIL])],
    "bakeoff list": [("", "bake␛[31m", [])],
    "bakeoff show": [("", "gla␛[31m", [BAKE_OFF]), ("", "gla␛[31m", [BAKE_OFF, "--csv", "-"]),
                     ("", "gla\\u001b", [BAKE_OFF, "--json"])],
    "bakeoff attach": [("", "gla␛[31m", [BAKE_OFF])],
    "bakeoff resume": [("", "", [BAKE_OFF])],
    "bakeoff stop": [("", "", [BAKE_OFF])],
    "bakeoff delete": [("n\n", "bake␛[31m", [BAKE_OFF])],
    "completion": [("", "compadd", ["zsh"])],
    "repl": [("/model last\n/list\n/runs\n/quit\n", "dataset␛[31m", ["--plain"])],
    "bench": [("", "given␛[31m", ["--work", EVIL]), ("", "given␛[31m", ["--variants", EVIL])],
    "serve": [("", "given␛[31m", ["--host", 64 * "x" + EVIL, "--port", "0"])],  # too long for a name server
    "doctor": [("", "w␛]0;root␇", [])],
}
CASES = [pytest.param(name, case, id=f"{name} {n}") for name, cases in VERBS.items() for n, case in enumerate(cases)]


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Only for reading."""
    made = hostile.workspace(tmp_path_factory.mktemp("stranger"))
    hostile.converse(made)
    return made


@pytest.fixture
def copy(stranger: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    copied = Workspace(shutil.copytree(stranger.root, tmp_path / stranger.root.name))
    yield copied
    for run in runs.all_runs(copied):
        if run.alive:
            run.command("stop")
            run.wait(60)


def environment(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "PYTHONPATH": str(ROOT)}


def test_every_verb_is_tried():
    """A new verb is tried too, or this fails."""
    assert set(VERBS) == {action.name for action in actions.offered(actions.CLI)}
    for name, cases in VERBS.items():
        for _, _, words in cases:
            if words != ["--preset", EVIL]:
                assert parser.parse([*name.split(), *words]).action.name == name


@pytest.mark.parametrize(("name", "case"), CASES)
def test_no_verb_lets_text_reach_the_terminal(copy, tmp_path, name, case):
    typed, seen, words = case
    words = [word.replace("{root}", str(copy.root)) for word in words]
    with PtyApp([*PYTHON, *name.split(), *words, "--workspace", str(copy.root)], 400, 50,
                environment(tmp_path)) as terminal:
        if typed:
            terminal.wait_for(b"> " if name == "repl" else b"[y/N]", 60)
            terminal.type(typed.encode())
        terminal.wait(60)
    assert driven(terminal.output, CLI) == []
    said = terminal.output.decode().replace("\\x1b", "␛").replace("\\x07", "␇")  # either way of showing it will do
    assert seen in said and "Traceback" not in said


@pytest.mark.parametrize("words", [[EVIL], [f"--{EVIL}"], ["list", f"--{EVIL}"], ["list", EVIL], ["inputs", EVIL],
                                   ["inference", "--tokens", EVIL], ["train", "--time", EVIL], ["--workspace", EVIL]],
                         ids=lambda words: words[0][:6])
def test_wrong_usage_does_not_either(tmp_path, words):
    with PtyApp([*PYTHON, *words], 400, 50, environment(tmp_path)) as terminal:
        if words[0] == "--workspace":  # the playground opens on it
            terminal.wait_for("␛".encode(), 60)
            terminal.type(b"\x11")
            assert terminal.wait(60) == 0
            return
        assert terminal.wait(60) == 2
    assert driven(terminal.output, CLI) == [] and "␛[31m".encode() in terminal.output


def test_raw_and_pipes_get_the_exact_text(stranger, tmp_path):
    """The reference is what the model says without any face."""
    import babytui

    want = "".join(babytui.load(GUID, stranger.root).stream("a", 300, temperature=0.8, seed=3))
    words = ["inference", GUID, "--prompt", "a", "--tokens", "300", "--seed", "3", "--no-save", "-q", "--workspace",
             str(stranger.root)]
    piped = subprocess.run([*PYTHON, *words], capture_output=True, timeout=120, check=True,
                           env={**os.environ, **environment(tmp_path)}).stdout
    assert piped.decode() == "a" + want and "\x1b]52;" in want and "\u202e" in want
    with PtyApp([*PYTHON, *words, "--raw"], 200, 50, environment(tmp_path)) as terminal:
        assert terminal.wait(60) == 0
    assert terminal.output.replace(b"\r\n", b"\n") == piped, "the line discipline's carriage returns apart"
    with PtyApp([*PYTHON, *words], 200, 50, environment(tmp_path)) as terminal:
        assert terminal.wait(60) == 0
    marked = terminal.output.decode().replace("\r\n", "\n")
    assert marked.count("␛]52;c;b3duZWQ=␇") == want.count("\x1b]52;c;b3duZWQ=\x07") > 0
    refused = subprocess.run([*PYTHON, *words, "--raw", "--json"], capture_output=True, timeout=120, check=False,
                             env={**os.environ, **environment(tmp_path)})
    assert refused.returncode == 2 and refused.stdout == b""


@pytest.mark.parametrize("words", [["list"], ["info", GUID], ["runs"], ["bakeoff", "show"], ["inputs", "list"]])
def test_tables_are_marked_in_a_pipe_too(stranger, tmp_path, words):
    """They are for people, and what reads a pipe is often a pager."""
    piped = subprocess.run([*PYTHON, *words, "--workspace", str(stranger.root)], capture_output=True, timeout=120,
                           check=True, env={**os.environ, **environment(tmp_path)})
    assert driven(piped.stdout + piped.stderr, CLI) == []


def test_a_bug_shows_its_traceback_as_marks(tmp_path):
    """Also what the interpreter would print itself."""
    code = ("import sys; from babytui.cli import main as cli, parser; from babytui.__main__ import main\n"
            "def bug(argv): raise RuntimeError(sys.argv[1])\n"
            "parser.parse = bug; sys.exit(main(['list']))")
    with PtyApp([sys.executable, "-P", "-c", code, EVIL], 400, 50, environment(tmp_path)) as terminal:
        assert terminal.wait(60) == 1
    assert driven(terminal.output, CLI) == []
    assert "given␛[31m" in terminal.output.decode() and b"Traceback" in terminal.output


def test_worker_logs_are_safe_to_read(copy, tmp_path):
    """A person reads them with cat."""
    (copy.run_dir(RUN) / "events.jsonl").unlink()
    with PtyApp([*PYTHON, "resume", RUN, "--workspace", str(copy.root)], 400, 50, environment(tmp_path)) as terminal:
        terminal.wait(60)
    log = (copy.run_dir(RUN) / "worker.log").read_bytes().removeprefix((evil("log") + "\n").encode())
    assert log and driven(log, CLI) == []


def test_the_trash_and_what_the_doctor_finds(copy, tmp_path):
    """Files with names, and a manifest in the trash, that somebody made up."""
    for folder in ("models", "outputs", "configs", "tokenizers", "runs", "settings", "."):
        (copy.root / folder / "odd\x1b]0;owned\x07\u202e[red].json").write_text(evil("odd"), encoding="utf-8")
        (copy.root / folder / ".odd\x1b]0;owned\x07.json.abcdef.tmp").write_text("x")
    (copy.run_dir(RUN) / "events.jsonl").write_bytes(evil("torn").encode())

    def said(typed: str, *words: str) -> str:
        with PtyApp([*PYTHON, *words, "--workspace", str(copy.root)], 400, 50, environment(tmp_path)) as terminal:
            if typed:
                terminal.wait_for(b"[y/N]", 60)
                terminal.type(typed.encode())
            terminal.wait(60)
        assert driven(terminal.output, CLI) == [] and b"Traceback" not in terminal.output
        return terminal.output.decode()

    assert "odd␛]0;owned" in said("", "doctor").replace("\\x1b", "␛")
    said("n\n", "doctor", "--repair")
    said("", "doctor", "--repair", "--yes")
    said("", "delete", GUID, "--yes")
    (manifest,) = (path for path in copy.trash.glob(f"*{GUID}/manifest.json"))
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": evil("thrown")}))
    assert "1badc0de" in said("", "trash")
    said("n\n", "trash", "empty")
    said("", "trash", "restore", GUID[:8])
    assert "␛]0;root␇" in said("", "doctor")


def test_a_live_run_says_nothing_to_the_terminal(copy, tmp_path):
    """Samples, alarms and commands as they come, around the line that is redrawn. This test is the training process."""
    folder = copy.run_dir(RUN)
    (folder / "events.jsonl").unlink()
    lock, lines = Lock(folder / "lock"), journal.Journal(folder / "events.jsonl")
    assert lock.acquire()
    *events, end = hostile.events(time.time())
    lines.append(events[0])
    lines.flush()
    with PtyApp([*PYTHON, "attach", RUN, "--workspace", str(copy.root)], 300, 50, environment(tmp_path)) as terminal:
        terminal.wait_for(b"Watching runner", 60)
        for _ in range(3):
            for event in events:
                lines.append(event)
            lines.flush()
        for word in ("sample␛[31m", "alarm␛[31m", "command␛[31m", "loss 3.500"):
            terminal.wait_for(word.encode(), 60)
        lines.append({**end, "reason": evil("ended")})
        lines.close()
        lock.release()
        assert terminal.wait(60) == 0
    assert driven(terminal.output, CLI) == []


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_a_terminal_obeys_none_of_it(stranger, tmp_path):
    """tmux takes titles, clipboards, bells and screens from what it shows; with --raw it does, so it would have."""
    outcome = {}
    for raw in ("", "--raw"):
        socket = f"babytui-{uuid.uuid4().hex[:8]}"

        def tmux(*words: str, socket: str = socket) -> str:
            return subprocess.run(["tmux", "-f", "/dev/null", "-L", socket, *words], capture_output=True, text=True,
                                  timeout=120, check=False, env={**os.environ, **environment(tmp_path),
                                                                "BABYTUI_WORKSPACE": str(stranger.root)}).stdout

        script = tmp_path / "script.sh"
        script.write_text(f"{sys.executable} -P -m babytui inference {GUID} --tokens 400 --seed 1 --no-save {raw}\n"
                          + "".join(f"{sys.executable} -P -m babytui {verb}\n" for verb in ("list", "info", "runs")
                                    if not raw) + "tmux wait-for -S done\nsleep 60\n")
        try:
            tmux("new-session", "-d", "-x", "200", "-y", "50", f"sleep 0.1; exec sh {script}")
            tmux("set-option", "-g", "set-clipboard", "on")
            tmux("wait-for", "done")
            outcome[raw] = (tmux("display-message", "-p", "#{pane_title}").strip(), tmux("show-buffer").strip())
        finally:
            tmux("kill-server")
    assert outcome["--raw"][1] == "owned", "this test can fail"
    assert outcome[""][0] != "owned" and outcome[""][1] == ""
    assert set(SEQUENCES) >= {"title", "clipboard"}
