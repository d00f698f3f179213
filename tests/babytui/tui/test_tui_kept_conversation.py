"""What is said in the chat survives: a restart, another model in between, a deletion that is undone."""

from __future__ import annotations

from typing import Any

import pytest

from babytui import conversation_file
from babytui.tui.panes.sampling import Sampling
from babytui.tui.screens.confirm import ConfirmScreen
from store import conversations


@pytest.fixture
def chatting(playground: Any, until: Any, model: str) -> Any:
    """The playground at its chat, replies of 20 tokens; `say` says something and waits for the reply to be kept."""

    class Opened:
        def __init__(self) -> None:
            self.inner = playground(100, 30)

        async def __aenter__(self) -> Any:
            self.app, self.pilot = await self.inner.__aenter__()
            self.app.playground.action_show("chat")
            self.chat = self.app.playground.chat
            await until(self.pilot, lambda: self.chat.baby is not None and self.chat.prompt.has_focus)
            self.chat.query_one(Sampling).fields["tokens"].value = "20"
            return self

        async def __aexit__(self, *error: Any) -> None:
            await self.inner.__aexit__(*error)

        async def say(self, text: str) -> None:
            chat, count = self.chat, len(self.chat.talk.branches())
            await self.pilot.press(*text, "enter")
            await until(self.pilot, lambda: not chat.writing and len(chat.talk.branches()) == count + 1)
            await self.kept()

        async def kept(self) -> None:
            """The file holds what the chat does."""
            def same() -> bool:
                found = conversation_file.load(self.app.workspace, self.chat.baby.guid)
                return texts(found) == texts(self.chat.talk) if found else not self.chat.talk.path

            await until(self.pilot, same)

    return Opened


def texts(talk: Any) -> list[Any]:
    return [[one.text for one in talk.path], [(deep, one.text) for deep, one in talk.branches()]]


async def test_it_is_there_after_a_restart(chatting: Any, until: Any) -> None:
    async with chatting() as first:
        await first.say("The")
        await first.say("cat")
        await first.pilot.press("f7")
        await until(first.pilot, lambda: not first.chat.writing and len(first.chat.talk.branches()) == 3)
        await first.kept()
        before, receipt = texts(first.chat.talk), first.chat.talk.last.receipt().to_dict()
    async with chatting() as again:
        chat = again.chat
        assert texts(chat.talk) == before and chat.talk.last.receipt().to_dict() == receipt
        assert [block.text for block in chat.transcript.blocks if block.about] == [one.reply for one in chat.talk.path]
        await again.pilot.press("escape", "left_square_bracket")
        await again.kept()  # the branch that is shown, too
        chosen = texts(chat.talk)
        assert chosen != before
        await again.pilot.press("f8")  # its reply goes on
        await until(again.pilot, lambda: not chat.writing and len(chat.talk.last) == 40)
        await again.kept()
    async with chatting() as third:
        assert len(third.chat.talk.last) == 40 and len(third.chat.talk.branches()) == 3


async def test_each_model_has_its_own(chatting: Any, until: Any, model: str) -> None:
    async with chatting() as one:
        chat, pilot = one.chat, one.pilot
        await one.say("The")
        kitten = texts(chat.talk)
        chat.load("baby", "baby")
        await until(pilot, lambda: chat.guid == "baby")
        assert texts(chat.talk) == kitten  # one with which nothing was said takes over what is on the screen
        await pilot.press("escape", "n")
        await until(pilot, lambda: isinstance(one.app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: not chat.talk.path and one.app.screen is one.app.playground)
        await pilot.press("escape")
        chat.prompt.focus()
        await one.say("cat")
        baby = texts(chat.talk)
        chat.load(model, "kitten")
        await until(pilot, lambda: chat.guid == model)
        assert texts(chat.talk) == kitten
        chat.load("baby", "baby")
        await until(pilot, lambda: chat.guid == "baby")
        assert texts(chat.talk) == baby and [row.text for row in chat.transcript.blocks if row.about] == [
            chat.talk.last.reply]


@pytest.mark.slow
async def test_another_model_while_a_reply_is_written(chatting: Any, until: Any, model: str) -> None:
    """The reply as far as it came is kept with the model that wrote it."""
    async with chatting() as one:
        chat, pilot = one.chat, one.pilot
        workspace = one.app.workspace
        chat.load("baby", "baby")
        await until(pilot, lambda: chat.guid == "baby")
        await one.say("cat")
        baby = texts(chat.talk)
        chat.load(model, "kitten")
        await until(pilot, lambda: chat.guid == model)
        chat.talk.clear()
        chat.query_one(Sampling).fields["tokens"].value = "100000"
        await pilot.press(*"The", "enter")
        await until(pilot, lambda: chat.writing and len(chat.talk.last) > 5)
        chat.load("baby", "baby")
        await until(pilot, lambda: chat.guid == "baby")
        assert texts(chat.talk) == baby and not chat.writing
        await until(pilot, lambda: (found := conversation_file.load(workspace, model)) and len(found.last) > 5
                    and found.last.prompt == "The")


async def test_begun_anew_is_gone_for_good(chatting: Any, until: Any, model: str) -> None:
    async with chatting() as one:
        await one.say("The")
        await one.pilot.press("escape", "n")
        await until(one.pilot, lambda: isinstance(one.app.screen, ConfirmScreen))
        await one.pilot.press("y")
        await one.kept()
        await until(one.pilot, lambda: not conversations.has(one.app.workspace, model))
    async with chatting() as again:
        assert again.chat.talk.path == []


async def test_a_damaged_file_is_a_sentence_and_stays(chatting: Any, until: Any, model: str) -> None:
    async with chatting() as one:
        await one.say("The")
        path = one.app.workspace.path("conversation", model)
    path.write_bytes(path.read_bytes()[:-40])
    damaged = path.read_bytes()
    async with chatting() as one:
        chat = one.chat
        assert any(path.name in block.text and "doctor" in block.text for block in chat.transcript.blocks)
        assert chat.talk.path == []
        await one.pilot.press(*"cat", "enter")
        await until(one.pilot, lambda: chat.last_reply())
    assert path.read_bytes() == damaged


async def test_a_deleted_model_keeps_nothing_but_in_the_trash(chatting: Any, until: Any, model: str) -> None:
    async with chatting() as one:
        await one.say("The")
        before = texts(one.chat.talk)
        deleted = one.app.workspace.delete(model)
        await one.pilot.press(*"cat", "enter")
        await until(one.pilot, lambda: not one.chat.writing and len(one.chat.talk.path) == 2)
        await one.app.workers.wait_for_complete()
        assert not conversations.has(one.app.workspace, model)
        one.app.workspace.undelete(deleted)
        assert texts(conversation_file.load(one.app.workspace, model)) == before
