"""Chat: streaming from a real tiny model, stopping it, unknown symbols, and text that would drive the terminal."""

from __future__ import annotations

from typing import Any

import pytest
from textual.events import Key

from babytui.conversation import Exchange
from babytui.tui.panes.sampling import Sampling
from babytui.tui.talk import Spoke, Talk
from engine.generate import Sampler


@pytest.fixture
def talking(playground: Any, until: Any, model: str) -> Any:
    """The playground with the chat ready."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened(width: int = 80, height: int = 24) -> Any:
        async with playground(width, height) as (app, pilot):
            chat = app.playground.chat
            await until(pilot, lambda: chat.baby is not None and chat.prompt.has_focus)
            yield app, pilot, chat

    return opened


def setting(chat: Any, **values: Any) -> None:
    for name, value in values.items():
        chat.query_one(Sampling).fields[name].value = str(value)


async def test_a_reply_streams_and_tells_its_pace(talking: Any, until: Any) -> None:
    async with talking() as (_app, pilot, chat):
        setting(chat, tokens=40, seed=7)
        await pilot.press(*"The", "enter")
        await until(pilot, lambda: chat.last_reply())
        reply = chat.last_reply()
        assert reply.startswith("The") and len(reply) == 43
        shown = chat.transcript.blocks[-1].text
        assert shown == reply[3:]
        assert "40 tokens" in chat.query_one("#pace").plain
        assert chat.prompt.text == ""
        await pilot.press("f7")
        await until(pilot, lambda: len(chat.talk.branches()) == 2 and not chat.writing)
        assert chat.last_reply() == reply  # the seed is fixed
        assert len(chat.transcript.blocks) == 2 and chat.transcript.blocks[0].margin == "you 2/2"
        await pilot.press("f8")
        await until(pilot, lambda: not chat.writing and len(chat.last_reply()) == 83)
        assert chat.last_reply().startswith(reply)
        assert len(chat.transcript.blocks) == 2 and chat.transcript.blocks[1].text == chat.last_reply()[3:]
        await pilot.press("up")
        assert chat.prompt.text == "The"


async def test_esc_and_ctrl_c_stop_a_reply(talking: Any, until: Any) -> None:
    async with talking() as (_app, pilot, chat):
        setting(chat, tokens=50_000)
        for key in ("escape", "ctrl+c"):
            await pilot.press(*"The", "enter")
            await until(pilot, lambda: chat.writing and len(chat.transcript.blocks[-1].text) > 5)
            await pilot.press(key)
            await until(pilot, lambda: not chat.writing)
            assert "stopped" in chat.query_one("#pace").plain
            assert len(chat.last_reply()) < 50_000


async def test_unknown_symbols_are_shown_and_skipped_on_request(talking: Any, until: Any) -> None:
    async with talking() as (_app, pilot, chat):
        setting(chat, tokens=5)
        await pilot.press(*"Tjhe")
        await until(pilot, lambda: "not in its vocabulary: j" in chat.query_one("#pace").plain)
        await pilot.press("enter")
        assert not chat.writing and "skips them" in chat.query_one("#pace").plain
        chat._check()  # as the timer of the last key does when it runs out after Enter
        assert "skips them" in chat.query_one("#pace").plain
        await pilot.press("enter")
        await until(pilot, lambda: chat.last_reply())
        assert chat.last_reply().startswith("The")


async def test_wrong_sampling_is_refused_with_a_sentence(talking: Any, until: Any) -> None:
    async with talking() as (app, pilot, chat):
        for name, value, words in (("top_p", "2", "from 0 to 1"), ("tokens", "x", "a whole number"),
                                   ("temperature", "-1", "from 0")):
            before = chat.query_one(Sampling).fields[name].value
            setting(chat, **{name: value})
            await until(pilot, lambda name=name: "-wrong" in chat.query_one(Sampling).fields[name].classes)
            await pilot.press(*"The", "enter")
            await until(pilot, lambda words=words: any(words in n.message for n in app._notifications))
            assert not chat.writing
            setting(chat, **{name: before})
            chat.prompt.text = ""


async def test_several_lines_and_an_empty_prompt(talking: Any, until: Any) -> None:
    async with talking() as (_app, pilot, chat):
        setting(chat, tokens=3)
        await pilot.press("T", "ctrl+j", "h", "enter")
        await until(pilot, lambda: chat.last_reply())
        assert chat.last_reply().startswith("T\nh")
        await pilot.press("enter")
        await until(pilot, lambda: not chat.writing and len(chat.transcript.blocks) == 4)
        assert "(nothing)" in chat.transcript.plain


async def test_without_any_model_the_chat_says_what_to_do(playground: Any, until: Any, monkeypatch: Any,
                                                          tmp_path: Any) -> None:
    monkeypatch.setattr("babytui.workspace_choice.BOX", tmp_path / "no box")
    async with playground(80, 24) as (app, pilot):
        await until(pilot, lambda: "F9 trains one" in " ".join(app.playground.chat.query_one("#pace").plain.split()))


class FakeToken:
    id, probability = 1, 0.5


class FakeGeneration:
    """Pieces as a malicious text would have them, faster than any screen."""

    seed, ids, kept, tokens_per_second, prefill_seconds, cache = 1, [0], [], 9.0, 0.0, True
    sampler = Sampler(seed=1)

    def __init__(self, baby: FakeBaby, pieces: list[str]):
        self.baby, self.pieces, self.count, self.closed = baby, pieces, 0, False

    def tokens(self) -> Any:
        for piece in self.pieces:
            self.count += 1
            yield FakeToken, piece

    def close(self) -> None:
        self.closed = True


class FakeBaby:
    guid, name, step, sha256 = "", "fake", None, ""

    def __init__(self, pieces: list[str]):
        self.generation = FakeGeneration(self, pieces)
        self.config = type("C", (), {"n_ctx": 8})

    def generate(self, prompt: str, **settings: Any) -> FakeGeneration:
        return self.generation


def test_a_producer_never_waits_and_its_text_is_made_visible() -> None:
    pieces = ["\x1b]0;owned\x07", "[red]", "\u202e"] + ["x"] * 100_000
    posted: list[Spoke] = []
    baby = FakeBaby(pieces)
    exchange = Exchange("", [0], "", ["a"], "", 8)
    Talk(baby, exchange, {}, 1, posted.append).run()  # type: ignore[arg-type] # nobody paints
    assert len(posted) == 2 and posted[-1].done == "end" and baby.generation.closed
    text = "".join(message.text for message in posted)
    assert sum(len(message.ids) for message in posted) == 100_003 and posted[-1].part is not None
    assert posted[-1].part.tokens == 100_003 and len(posted[-1].probabilities) == len(posted[-1].ids)
    assert "\x1b" not in text and "\u202e" not in text and "␛]0;owned" in text and text.count("x") == 100_000


async def test_keys_that_come_at_once_keep_their_order(playground: Any, until: Any) -> None:
    """As over a link that delivers several in one piece."""
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f5")
        await until(pilot, lambda: app.playground.chat.prompt.has_focus)
        for key in ("a", "b", "backspace", "c", "left", "d", "home", "e"):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: len(app.playground.chat.prompt.text) == 4)
        await pilot.pause()
        assert app.playground.chat.prompt.text == "eadc"
