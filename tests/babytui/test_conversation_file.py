"""Conversations in the workspace: the same tree comes back, with receipts that write it again; strangers' files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from historic import GUID, newest, put, weights
from replies import reply, said

from babytui import conversation_file, library
from babytui.__main__ import main
from babytui.conversation import AGAIN, KEPT_EXCHANGES, Conversation, Exchange
from babytui.library import Baby
from babytui.receipts import Replay
from engine.errors import BabyError, FormatError, NotFound
from store import archive, conversations, examine, importing
from store.atomic import StoreError
from store.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return put(tmp_path / "w", {**newest("mha", "mlp"), "c_device": "cpu"}, weights("mha", "mlp"))


@pytest.fixture
def baby(ws: Workspace) -> Baby:
    return library.load(GUID, ws)


def branched(baby: Baby) -> Conversation:
    """Two exchanges, a second reply to the first, and a fork with a chosen token of the second, which is shown."""
    talk = Conversation()
    first, second = said(baby, talk, "a b", 9), said(baby, talk, "c", 7)
    talk.beside(first, again := Exchange.of(baby, first.prompt, AGAIN))
    reply(baby, again, 5, seed=8)
    talk.show(second)
    reply(baby, talk.fork(second, 3, chosen=4, probability=0.25), 6, chosen=4, seed=9)
    return talk


def facts(talk: Conversation) -> list[Any]:
    """Everything that a tree is, but for how exactly probabilities are kept."""
    return [(deep, one.prompt, one.prompt_ids, one.opening, one.reply, one.n_ctx, one.how, one.at, list(one.ids),
             [round(10_000 * share) for share in one.probabilities], list(one.parts), one.receipt().to_dict(),
             [talk.place(each)[0] for each in talk.path]) for deep, one in talk.branches()]


def keep(ws: Workspace, talk: Conversation) -> dict[str, Any]:
    conversation_file.save(ws, GUID, conversation_file.snapshot(talk))
    return json.loads(ws.path("conversation", GUID).read_bytes())


def test_the_same_tree_comes_back(ws, baby):
    talk = branched(baby)
    keep(ws, talk)
    found = conversation_file.load(ws, GUID, baby.tokenizer.vocab)
    assert facts(found) == facts(talk) and len(talk.branches()) == 4 and [len(one) for one in talk.path] == [9, 10]
    assert all(one.vocab is baby.tokenizer.vocab for _, one in found.branches())
    reply(baby, found.last, 4, seed=1)  # it can be gone on from
    for _, one in found.branches():
        replay = Replay(one.receipt(), ws)
        assert "".join(replay) == one.text and replay.difference() == ""


def test_it_is_read_without_the_model(ws, baby):
    talk = branched(baby)
    keep(ws, talk)
    alone = conversation_file.load(ws, GUID)
    assert facts(alone) == facts(talk) and list(alone.last.vocab) != list(baby.tokenizer.vocab)
    other = conversation_file.load(ws, GUID, ["\n", "x", "y", "z"])
    assert [one.text for one in other.path] == [one.text for one in talk.path]


def test_what_has_no_receipt_is_left_out(ws, baby):
    """A prompt that was never replied to, in the middle of a path, and a token that was not gone on from."""
    talk = Conversation()
    talk.say(Exchange.of(baby, "a"))
    last = said(baby, talk, "b", 5)
    last.ids.append(2)
    last.probabilities.append(0.5)
    talk.say(Exchange.of(baby, "c"))
    assert [row.parent for row in conversation_file.snapshot(talk)] == [-1]
    keep(ws, talk)
    found = conversation_file.load(ws, GUID, baby.tokenizer.vocab)
    assert [(one.prompt, list(one.ids)) for one in found.path] == [("b", list(last.ids[:5]))]
    assert last.ids[5] == 2


def test_a_snapshot_is_of_its_moment(ws, baby):
    talk = branched(baby)
    before, rows = facts(talk), conversation_file.snapshot(talk)
    reply(baby, talk.last, 5)
    said(baby, talk, "a", 3)
    talk.clear()
    conversation_file.save(ws, GUID, rows)
    assert facts(conversation_file.load(ws, GUID, baby.tokenizer.vocab)) == before


def test_versions_stay_those_of_what_wrote_it(ws, baby):
    raw = keep(ws, branched(baby))
    for one in raw["exchanges"]:
        one["receipt"]["versions"] = {"babytui": "0.0.1"}
    conversations.save(ws, GUID, raw)
    found = conversation_file.load(ws, GUID, baby.tokenizer.vocab)
    keep(ws, found)
    assert conversation_file.load(ws, GUID).last.receipt().versions == {"babytui": "0.0.1"}


def test_an_empty_conversation_is_none(ws, baby):
    keep(ws, branched(baby))
    conversation_file.save(ws, GUID, [])
    assert conversation_file.load(ws, GUID) is None and not ws.path("conversation", GUID).exists()
    conversation_file.save(ws, GUID, [])


def test_it_is_bounded(ws, baby, monkeypatch):
    talk = Conversation()
    first = said(baby, talk, "a", 3)
    for _ in range(KEPT_EXCHANGES + 5):
        talk.say(replace(first, children=[]))
    assert talk.prune() == 6 and len(talk.branches()) == KEPT_EXCHANGES
    keep(ws, talk)
    assert len(conversation_file.load(ws, GUID).branches()) == KEPT_EXCHANGES
    whole = ws.path("conversation", GUID).read_bytes()
    monkeypatch.setattr(conversations, "LIMIT", 1000)
    with pytest.raises(StoreError, match="begin a new one"):
        keep(ws, talk)
    assert ws.path("conversation", GUID).read_bytes() == whole


WRONG = {
    "format": lambda raw: raw.update(babytui_conversation=2),
    "no exchanges": lambda raw: raw.pop("exchanges"),
    "a parent that comes later": lambda raw: raw["exchanges"][1].update(parent=1),
    "a parent before the first": lambda raw: raw["exchanges"][1].update(parent=-2),
    "a vocabulary that is not there": lambda raw: raw["exchanges"][0].update(vocabulary=1),
    "shown": lambda raw: raw["exchanges"][0].update(shown=1),
    "how": lambda raw: raw["exchanges"][0].update(how="sung"),
    "ids that have no symbol": lambda raw: raw["vocabularies"][0]["symbols"].clear(),
    "an id twice": lambda raw: raw["vocabularies"][0]["symbols"].append(raw["vocabularies"][0]["symbols"][0]),
    "a symbol that is too long": lambda raw: raw["vocabularies"][0]["symbols"][0].__setitem__(1, "x" * (1 << 18 | 1)),
    "an id that is too large": lambda raw: raw["vocabularies"][0]["symbols"].append([1 << 40, "x"]),
    "a separator": lambda raw: raw["vocabularies"][0].update(separator="\x1b[2J"),
    "fewer probabilities": lambda raw: raw["exchanges"][0]["probabilities"].pop(),
    "a probability above 1": lambda raw: raw["exchanges"][0]["probabilities"].__setitem__(0, 1.5),
    "no receipt": lambda raw: raw["exchanges"][0].pop("receipt"),
    "a receipt without parts": lambda raw: raw["exchanges"][0]["receipt"].pop("parts"),
    "a sampler that is none": lambda raw: raw["exchanges"][0]["receipt"]["parts"][0].update(sampler={"seed": 1}),
    "no opening": lambda raw: raw["exchanges"][0].update(opening=None),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_wrong_is_refused_in_a_sentence(ws, baby, wrong):
    raw = keep(ws, branched(baby))
    WRONG[wrong](raw)
    ws.path("conversation", GUID).write_text(json.dumps(raw))
    with pytest.raises(FormatError, match=f"conversation_{GUID}"):
        conversation_file.load(ws, GUID)


def test_few_ids_cannot_stand_for_endless_text(ws, baby):
    raw = keep(ws, branched(baby))
    for pair in raw["vocabularies"][0]["symbols"]:
        pair[1] = "x" * (1 << 18)
    raw["exchanges"] = raw["exchanges"][:1] * 20
    ws.path("conversation", GUID).write_text(json.dumps(raw))
    with pytest.raises(FormatError, match="characters"):
        conversations.load(ws, GUID)


def test_it_goes_with_its_model(ws, baby, tmp_path):
    """To the trash and back, into an archive and out of it under another GUID."""
    talk = branched(baby)
    keep(ws, talk)
    deleted = ws.delete(GUID)
    assert conversation_file.load(ws, GUID) is None
    ws.undelete(deleted)
    assert facts(conversation_file.load(ws, GUID)) == facts(talk)
    archive.write(ws, GUID, tmp_path / "whole.zip")
    archive.write(ws, GUID, tmp_path / "model.zip", only="model")
    come, = importing.bring(ws, tmp_path / "whole.zip")
    assert come.guid != GUID and facts(conversation_file.load(ws, come.guid)) == facts(talk)
    bare, = importing.bring(ws, tmp_path / "model.zip")
    assert conversation_file.load(ws, bare.guid) is None
    raw = keep(ws, talk)
    raw["exchanges"][0]["parent"] = 3
    ws.path("conversation", GUID).write_text(json.dumps(raw))
    archive.write(ws, GUID, tmp_path / "wrong.zip")
    with pytest.raises(BabyError, match="parent"):
        importing.bring(ws, tmp_path / "wrong.zip")


def test_the_doctor_looks_at_it(ws, baby):
    """A damaged one goes to the trash; one of a model that is gone too, but not that of one that lies elsewhere."""
    keep(ws, branched(baby))
    other = "bbbbbbbb-0000-4000-8000-000000000002"
    path, alone = ws.path("conversation", GUID), ws.path("conversation", other)
    alone.write_bytes(path.read_bytes())
    os.utime(alone, (0, 0))
    assert [one.kind for one in examine.examine(ws.root)] == ["orphan"]
    assert examine.examine(ws.root, known=[other]) == [] and [entry.guid for entry in ws.entries()] == [GUID]
    for broken in (path, alone):
        broken.write_bytes(path.read_bytes()[:100])
        os.utime(broken, (0, 0))
    assert [one.kind for one in examine.examine(ws.root, known=[other])] == ["damaged", "damaged"]
    assert main(["doctor", "--repair", "--yes", "--workspace", str(ws.root)]) == 0
    assert not path.exists() and not alone.exists()


def test_the_verb_prints_and_forgets(ws, baby, capsys):
    talk = branched(baby)
    keep(ws, talk)
    where = ["--workspace", str(ws.root)]
    assert main(["conversation", GUID[:8], *where]) == 0
    out, err = capsys.readouterr()
    assert out == "\n\n".join(one.text for one in talk.path) + "\n" and "2 replies on other branches" in err
    assert main(["conversation", GUID, "--json", *where]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [one["generation"] for one in data["exchanges"]] == [one.text for one in talk.path]
    assert main(["conversation", GUID, "--form", "markdown", *where]) == 0
    assert capsys.readouterr().out.count("**Reply**") == 2
    assert main(["conversation", GUID, "--forget", *where]) == 2  # nobody can be asked
    assert ws.path("conversation", GUID).exists()
    assert main(["conversation", GUID, "--forget", "--yes", *where]) == 0
    assert not ws.path("conversation", GUID).exists()
    capsys.readouterr()
    assert main(["conversation", GUID, *where]) == NotFound("").exit_code
    assert "No conversation" in capsys.readouterr().err
