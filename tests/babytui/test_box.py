"""The baby that ships: small, complete, and able to speak."""

from __future__ import annotations

import re

import babytui
from babytui.workspace_choice import BOX
from store import artifacts
from store.workspace import Workspace

LIMIT = 2_000_000  # bytes


def test_the_box_is_small_and_whole():
    files = [path for path in BOX.rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= LIMIT
    box = Workspace(BOX)
    (entry,) = box.entries()
    assert entry.has_model and not entry.problems and entry.name == "baby" and entry.validation_loss is not None
    report = artifacts.load_report(box, entry.guid)
    assert report["babytui_steps"] == entry.config["n_steps"]
    assert "--steps" in (BOX / "README.md").read_text(encoding="utf-8"), "the command that made it"


def test_the_shipped_baby_speaks_words_of_its_text():
    from babytui import texts

    baby = babytui.load("baby")
    known = set(re.findall(r"[a-z]+", texts.read(texts.find(Workspace(BOX), ["nursery"])).text.lower()))
    said = "".join(baby.stream("Once upon a time", max_tokens=600, temperature=0.7, seed=1))
    words = re.findall(r"[a-z]+", said.lower())[:-1]
    assert len(words) > 60 and sum(word in known for word in words) / len(words) > 0.8


def test_the_losses_of_its_report_are_its_own():
    """Its validation loss, computed again from the shipped files alone."""
    from babytui import texts
    from engine import data

    box = Workspace(BOX)
    (entry,) = box.entries()
    baby = babytui.load("baby")
    ids = baby.encode(texts.read(texts.find(box, ["nursery"])).text)
    held = data.split(ids, baby.config).validation[:20_000]
    losses = [baby.model.losses(*batch) for batch in data.passes(held, baby.config.n_ctx, 4096)]
    mean = sum(float(part.sum()) for part in losses) / sum(part.size for part in losses)
    assert abs(mean - entry.validation_loss) < 0.05
