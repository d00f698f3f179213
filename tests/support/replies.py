"""Replies of a model in a conversation, as the app writes them."""

from __future__ import annotations

from typing import Any

from babytui.conversation import Conversation, Exchange
from babytui.library import Baby


def reply(baby: Baby, exchange: Exchange, tokens: int, chosen: int | None = None, **options: Any) -> Exchange:
    """Writes on, as the app does."""
    generation = baby.generate(exchange.prompt, tokens, kept=exchange.ids, **{"seed": 3, **options})
    for token, _ in generation.tokens():
        exchange.ids.append(token.id)
        exchange.probabilities.append(token.probability)
    exchange.wrote(generation, chosen)
    return exchange


def said(baby: Baby, talk: Conversation, prompt: str = "the ", tokens: int = 20, **options: Any) -> Exchange:
    """A prompt and its reply, after the last that is shown."""
    exchange = Exchange.of(baby, prompt)
    talk.say(exchange)
    return reply(baby, exchange, tokens, **options)
