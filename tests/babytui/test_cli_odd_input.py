"""What a shell, a script or a slip of the hand can do to the command line: a sentence, and nothing lost."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from babytui import runs
from store.workspace import Workspace


@pytest.fixture
def sh(home: Path, nest: Any, tmp_path: Path) -> Any:
    """`sh("list >&-")` in a shell, in a workspace with one model: exit code, standard output, standard error."""
    program = shlex.join([sys.executable, "-P", "-m", "babytui"])
    root = Path(__file__).resolve().parents[2]

    def run(words: str) -> tuple[int, str, str]:
        found = dict(os.environ, BABYTUI_WORKSPACE=str(nest[0].root),
                     PYTHONPATH=os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]))
        done = subprocess.run(["sh", "-c", f"{program} {words}"], env=found, cwd=tmp_path, capture_output=True,
                              text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("words", ["list", pytest.param("info last", marks=pytest.mark.slow),
                                   pytest.param("--version", marks=pytest.mark.slow),
                                   pytest.param("--help", marks=pytest.mark.slow)])
def test_a_closed_or_full_output_is_an_error_in_one_line(sh: Any, words: str) -> None:
    for where, said in ((">&-", "Bad file descriptor"), (">/dev/full", "No space left")):
        code, _, told = sh(f"{words} {where}")
        assert code == 1 and said in told and told.count("\n") == 1, told
    code, out, _ = sh(f"{words} 2>&-")
    assert code == 0 and out == sh(words)[1] != ""


def test_closed_input_keeps_nothing_from_being_started(sh: Any, nest: Any, text_file: Path) -> None:
    """The lock of what is started must not be taken for standard input."""
    for close in ("<&-", "<&- 2>&-"):
        code, out, told = sh(f"train --input {shlex.quote(str(text_file))} --steps 3 --set n_emb=8 --set head_size=8 "
                             f"--set n_heads=2 --set n_layers=1 --set n_ctx=8 --quiet {close}")
        assert code == 0, told
        assert runs.find(nest[0], out.strip()).status() == "finished"
    assert sh("<&-")[0] == 2
    code, _, told = sh("inputs add - <&-")
    assert code == 1 and "Traceback" not in told


def test_devices_pipes_and_links_are_not_replaced(sh: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "mine.zip").write_text("old")
    (tmp_path / "link").symlink_to("mine.zip")
    for name in ("pipe", "/dev/null"):
        code, _, told = sh(f"export last --to {name} --overwrite")
        assert code == 2 and "is a device, pipe or socket; name a file" in told
    assert (tmp_path / "pipe").is_fifo()
    assert sh("export last --to link --overwrite")[0] == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "mine.zip").read_bytes()[:2] == b"PK"


@pytest.mark.parametrize(("words", "said"), [
    (("list", "--workspace", "~nobody-has-this-name"), "names a user that is not known here"),
    (("train", "--input", "~nobody-has-this-name/x"), "names a user that is not known here"),
    (("train", "--input", ""), "An empty name is no text"),
    (("estimate", "--config", ""), "need a name"),
    (("estimate", "--preset", ""), "need a name"),
    (("estimate", "--steps", "1" * 401), "n_steps must be a whole number"),
    (("inference", "baby", "--tokens", "1" * 5000), "is not a whole number"),
    (("curve", "tiny", "--from", "1e9"), "--from must be before the end of the curve"),
])
def test_values_that_mean_nothing(command: Any, trained: Any, words: tuple[str, ...], said: str) -> None:
    place = () if "--workspace" in words else ("--workspace", trained[0].root)
    done = command(*words, *place)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


def test_a_name_stands_for_one_model(command: Any, nest: Any) -> None:
    workspace, guid = nest
    run = runs.Run(workspace, guid)
    other = runs.start(workspace, run_config(run), [str(path) for path in run.plan["texts"]], name="other")
    assert other.wait(60) == "finished"
    for name, said in (("baby", "is that of the model that ships"), (run.name.upper(), "already the name of"),
                       (run.guid[:8], "begins"), ("LAST", "means something else")):
        done = command("rename", "other", name, "--workspace", workspace.root)
        assert done.code == 2 and said in done.err
        done = command("train", "--name", name, "--steps", "2", "--input", run.plan["texts"][0], "--workspace",
                       workspace.root)
        assert done.code == 2 and said in done.err
    assert Workspace(workspace.root).entry(run.guid[:8]).guid == run.guid


def run_config(run: runs.Run) -> Any:
    from engine.config import Config

    return Config.read(run.plan["config"]).replace(n_steps=2)


def test_a_changed_setting_is_told_as_json(command: Any, home: Path) -> None:
    assert command("settings", "chart.axis", "tokens", "--json").data["value"] == "tokens"
    assert command("settings", "chart.axis", "--reset", "--json").data["value"] == "step"
    assert isinstance(command("settings", "--reset", "--json").data, list)
