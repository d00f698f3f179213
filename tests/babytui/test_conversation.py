"""A conversation as a tree: forks, branches, parts that add up, bounded memory, export that is read again."""

from __future__ import annotations

import json

import pytest
from architectures import tiny
from replies import reply, said

from babytui import conversation, receipts
from babytui.conversation import AGAIN, EDITED, FORKED, Conversation, Exchange
from babytui.library import Baby
from engine import registry
from engine.errors import TextError
from engine.model import Model

VOCAB = list("\n abcdehilot.")


@pytest.fixture(scope="module")
def baby() -> Baby:
    config = tiny(n_ctx=12)
    return Baby(Model.create(config, len(VOCAB)), registry.tokenizer.get("char")(VOCAB),
                guid="00000000-0000-4000-8000-000000000001", name="chick")


def test_a_path_of_exchanges(baby):
    talk = Conversation()
    first, second = said(baby, talk), said(baby, talk, "cat", 5)
    assert talk.path == [first, second] and talk.last is second
    assert first.text == "the " + first.reply and len(first.reply) == 20
    assert "".join(first.piece(i) for i in range(len(first))) == first.reply
    assert talk.place(first) == (1, 1) and talk.tokens == 20 + 4 + 5 + 3
    with pytest.raises(TextError):
        Exchange.of(baby, "xyz")
    nothing = said(baby, talk, "", 4)
    assert nothing.text[0] == "\n" and nothing.completion()["prompt"] is None


def test_siblings_keep_what_followed_them(baby):
    talk = Conversation()
    first, second = said(baby, talk), said(baby, talk)
    again = Exchange.of(baby, first.prompt, AGAIN)
    talk.beside(first, again)
    reply(baby, again, 20, seed=4)
    assert talk.path == [again] and talk.place(again) == (2, 2)
    after = said(baby, talk, "dot")
    assert talk.path == [again, after]
    assert talk.switch(again, 1) is first and talk.path == [first, second]
    assert talk.switch(first, -1) is again and talk.path == [again, after]
    edited = Exchange.of(baby, "dot.", EDITED)
    talk.beside(after, edited)
    assert talk.path == [again, edited]
    talk.show(second)
    assert talk.path == [first, second]
    assert [(depth, one) for depth, one in talk.branches()] == [(0, first), (1, second), (0, again), (1, after),
                                                                (1, edited)]
    talk.remove(again)
    assert talk.path == [first, second] and talk.place(first) == (1, 1)
    talk.clear()
    assert talk.path == [] and talk.last is None and talk.tokens == 0


def test_a_fork_keeps_the_tokens_before_it(baby):
    talk = Conversation()
    first = said(baby, talk)
    fork = talk.fork(first, 7, 5)
    assert fork.how == FORKED and fork.at == 7 and list(fork.ids) == [*first.ids[:7], 5]
    assert list(fork.probabilities)[:7] == list(first.probabilities)[:7]
    reply(baby, fork, 10, 5)
    assert len(fork) == 18 and len(first) == 20 and talk.place(fork) == (2, 2)
    further = talk.fork(fork, 3, 2)
    assert len(further.parts) == 1  # the second part began after it
    reply(baby, further, 6, 2)
    late = reply(baby, talk.fork(fork, 12, 1), 4, 1)
    assert len(late.parts) == 3
    for one in (first, fork, further, late):
        replay = receipts.parse(json.loads(json.dumps(one.completion())), "x")
        assert list(replay.ids) == list(one.ids)
        assert written_again(baby, replay) == list(one.ids)


def written_again(baby: Baby, receipt: receipts.Receipt) -> list[int]:
    """A slow twin of Replay: every part whole, then cut."""
    from dataclasses import asdict

    ids: list[int] = []
    for part in receipt.parts:
        ids = ids[: part.keep] + ([] if part.chosen is None else [part.chosen])
        run = baby.generate(list(receipt.prompt_ids), part.tokens, cache=part.cache, kept=ids, **asdict(part.sampler))
        ids += [token.id for token, _ in run.tokens()]
    return ids


def test_going_on_extends_the_reply(baby):
    talk = Conversation()
    first = reply(baby, said(baby, talk, tokens=5), 6)
    whole = said(baby, Conversation(), tokens=11)
    assert len(first) == 11 and len(first.parts) == 2 and list(first.ids) == list(whole.ids)
    assert written_again(baby, first.receipt()) == list(first.ids)
    assert first.begun(3) == (0, True) and first.begun(7) == (5, True) and first.begun(11) == (5, True)


def test_the_oldest_go_when_there_are_too_many_tokens(baby):
    talk = Conversation(most=100)
    made = [said(baby, talk) for _ in range(3)]
    again = Exchange.of(baby, "the ", AGAIN)
    talk.beside(made[2], again)
    reply(baby, again, 20)
    assert talk.prune() == 0 and talk.tokens == 96
    more = said(baby, talk)
    assert talk.prune() == 1 and talk.path == [made[1], again, more]
    assert talk.prune() == 0 and talk.tokens <= 100
    one = Conversation(most=10)
    long = said(baby, one, tokens=50)
    assert one.prune() == 0 and one.path == [long]  # the last is never dropped
    one.beside(long, Exchange.of(baby, "a"))
    assert one.prune() == 1 and one.place(one.path[0]) == (1, 1)


def test_a_deep_tree_is_walked(baby):
    talk = Conversation()
    for _ in range(3000):
        talk.say(Exchange.of(baby, "a"))
    assert len(talk.branches()) == 3000 and talk.tokens == 3000
    talk.most = 10
    assert talk.prune() == 2990


def test_export(baby):
    talk = Conversation()
    first, second = said(baby, talk), said(baby, talk, "the it", 5)
    text = conversation.export(talk.path, "text")
    assert text == first.text + "\n\n" + second.text + "\n"
    page = conversation.export(talk.path, "markdown")
    assert page.count("**Prompt**") == 2 and first.reply in page and "seed 3" in page and "chick" in page
    data = json.loads(conversation.export(talk.path, "json"))
    assert [one["generation"] for one in data["exchanges"]] == [first.text, second.text]
    alone = json.loads(conversation.export(talk.path, "reply", first))
    assert list(receipts.parse(alone, "x").ids) == list(first.ids)
