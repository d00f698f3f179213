"""That models learn what they are said to learn. Slow; the default run leaves them out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import babytui
from babytui import runs
from engine.config import Config, preset
from inputs import catalogue
from store.workspace import Workspace

SHAKESPEARE = Path(__file__).resolve().parents[2] / "shared" / "data" / "shakespeare.txt"

pytestmark = pytest.mark.slow


def _train(folder: Path, config: Config, text: str) -> tuple[Workspace, str]:
    workspace = Workspace(folder).ensure()
    run = runs.start(workspace, config, [text], name="pupil")
    assert run.wait(900) == "finished"
    return workspace, run.guid


def test_a_newborn_learns_words_of_the_nursery_text(tmp_path):
    workspace, guid = _train(tmp_path, preset("newborn"), "nursery")
    assert workspace.entry(guid).validation_loss < 1.35
    known = set(re.findall(r"[a-z]+", catalogue.read("nursery").text.lower()))
    said = "".join(babytui.load("pupil", workspace=workspace).stream("Once", max_tokens=500, temperature=0.5, seed=1))
    words = re.findall(r"[a-z]+", said.lower())[:-1]
    assert sum(word in known for word in words) / len(words) > 0.7


@pytest.mark.skipif(not SHAKESPEARE.is_file(), reason="Tiny Shakespeare is not beside this checkout")
def test_shakespeare_in_2000_steps(tmp_path):
    config = Config.read({"n_ctx": 64, "n_emb": 128, "head_size": 128, "n_heads": 4, "n_layers": 4, "batch_size": 12,
                          "n_steps": 2000, "r_learn": 0.001, "c_schedule": "cosine"})
    workspace, guid = _train(tmp_path, config, str(SHAKESPEARE))
    assert workspace.entry(guid).validation_loss <= 1.90
