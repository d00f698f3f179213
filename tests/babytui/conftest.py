"""Running the command line inside the test process, and tiny models made by real runs."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from babytui import runs
from babytui.__main__ import main
from engine.config import Config
from store.workspace import Workspace

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}


@dataclass
class Result:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own with 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("a disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def command(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`command("list", "--json")` runs it in this process, off a terminal, in an empty home."""

    def run(*arguments: str | Path, stdin: str = "") -> Result:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode("utf-8", "surrogateescape"))))
            code = main([str(argument) for argument in arguments])
        texts = []
        for stream in (out, err):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode("utf-8"))
        return Result(code, *texts)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, runs.Run]]:
    """A workspace with one finished model, "tiny". Only for reading."""
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "cats.txt"
    text.write_text("The cat sat on the mat. The dog saw the cat and ran.\n" * 40, encoding="utf-8")
    workspace = Workspace(folder / "w")
    run = runs.start(workspace, Config.read(TINY), [text], name="tiny", prompt="The", steps=30)
    assert run.wait(60) == "finished", run.tail(5)
    yield workspace, run


@pytest.fixture
def nest(trained: tuple[Workspace, runs.Run], tmp_path: Path) -> Iterator[tuple[Workspace, str]]:
    """A copy of that workspace to do something with, and the GUID of "tiny"."""
    workspace, run = trained
    shutil.copytree(workspace.root, tmp_path / "nest")
    copy = Workspace(tmp_path / "nest")
    yield copy, run.guid
    for left in runs.all_runs(copy):  # by a test that failed
        if left.alive:
            left.command("stop")


@pytest.fixture
def long_run(tmp_path: Path, text_file: Path) -> Iterator[runs.Run]:
    """A run that lasts until the test ends it."""
    run = runs.start(Workspace(tmp_path / "w"), Config.read(TINY), [text_file], steps=10_000_000)
    yield run
    if run.alive:
        run.command("stop")
        run.wait(60)
