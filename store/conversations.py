"""Conversations: outputs/conversation_<GUID>.json holds what was said to a model, what was replied, and every branch.

    {"babytui_conversation": 1, "vocabularies": [{"separator": "", "symbols": [[5, "a"], …]}],
     "exchanges": [{"parent": -1, "shown": true, "how": "said", "at": -1, "vocabulary": 0, "n_ctx": 64,
                    "opening": "the prompt", "probabilities": [0.25, …], "receipt": {…}}, …]}

An exchange comes after its parent (its index; -1: the first of a conversation) and in the order of its siblings. Of a
vocabulary there is what the replies use. Receipts are read by babytui.receipts, the rest here: the file may come from
anybody. Imports no arrays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import orjson

from engine.config import shown
from engine.errors import FormatError, NotFound
from store.artifacts import MAX_SYMBOL, MAX_VOCAB
from store.atomic import StoreError, encode_json, explain, make_folder, shown_path, sync_folder, write_bytes
from store.reading import read_json
from store.workspace import Workspace

KIND = "conversation"
KEY = "babytui_conversation"
FORMAT = 1
LIMIT = 16 << 20  # bytes
MOST_EXCHANGES = 5000
HOW = ("said", "again", "edited", "forked")
_MOST_VOCABULARIES = 1000
_MOST_TEXT = 32 << 20  # characters of all replies together: few ids may stand for long symbols
_LIMIT_TEXT = 1 << 20  # characters of a prompt


def encoded(exchange: Mapping[str, Any]) -> orjson.Fragment:
    """An exchange as it goes into `save`, in the bytes that it takes there: a tenth of what its numbers take as
    objects, which count when a conversation has 400,000 tokens."""
    return orjson.Fragment(encode_json(KIND, exchange, indent=False))


def save(ws: Workspace, guid: str, conversation: Mapping[str, Any]) -> None:
    """Writes what `load` reads. StoreError, also when it would be larger than may be read."""
    path = ws.path(KIND, guid)
    data = encode_json(path, {KEY: FORMAT, **conversation}, indent=False)
    if len(data) > LIMIT:
        raise StoreError(f"The conversation has {len(data):,} bytes, more than the {LIMIT:,} that are kept; begin a "
                         "new one.", path)
    make_folder(path.parent)
    write_bytes(path, data)


def load(ws: Workspace, guid: str) -> dict[str, Any]:
    """The conversation that was kept with a model. NotFound when there is none, StoreError, FormatError."""
    path = ws.find(KIND, guid)
    return check(read_json(path, LIMIT), shown_path(path.name))


def forget(ws: Workspace, guid: str) -> bool:
    """Deletes it; False when there was none. StoreError."""
    path = ws.path(KIND, guid)
    try:
        os.unlink(path)
        sync_folder(path.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise explain(error, path, "deleted") from error
    return True


def check(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """The conversation itself. FormatError names what is wrong with it."""
    if raw.get(KEY) != FORMAT:
        raise FormatError(f"{name}: {KEY} is {shown(raw.get(KEY))}; this version reads {FORMAT}.")
    vocabularies, exchanges = raw.get("vocabularies"), raw.get("exchanges")
    if not isinstance(vocabularies, list) or len(vocabularies) > _MOST_VOCABULARIES:
        raise FormatError(f"{name}: vocabularies must be a list of at most {_MOST_VOCABULARIES}.")
    if not isinstance(exchanges, list) or len(exchanges) > MOST_EXCHANGES:
        raise FormatError(f"{name}: exchanges must be a list of at most {MOST_EXCHANGES:,}.")
    lengths = [_lengths(one, f"{name}: vocabulary {number}") for number, one in enumerate(vocabularies)]
    left = _MOST_TEXT
    for number, one in enumerate(exchanges):
        left -= _exchange(one, number, lengths, f"{name}: exchange {number}")
        if left < 0:
            raise FormatError(f"{name}: its replies have more than {_MOST_TEXT:,} characters.")
    return raw


def _lengths(raw: Any, where: str) -> dict[int, int]:
    """Characters of each symbol, with what stands before it."""
    if not isinstance(raw, dict) or raw.get("separator") not in ("", " ") or not isinstance(raw.get("symbols"), list):
        raise FormatError(f"{where} must have symbols and a separator, which is empty or a space.")
    found: dict[int, int] = {}
    for pair in raw["symbols"]:
        if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and 0 <= pair[0] < MAX_VOCAB
                and isinstance(pair[1], str) and 0 < len(pair[1]) <= MAX_SYMBOL and pair[0] not in found):
            raise FormatError(f"{where}: {shown(pair)} is not an id of its own with a text.")
        found[pair[0]] = len(pair[1]) + len(raw["separator"])
    return found


def _exchange(one: Any, number: int, lengths: list[dict[int, int]], where: str) -> int:
    """Characters of a reply."""
    if not isinstance(one, dict):
        raise FormatError(f"{where} must be an object.")
    for key, low, high in (("parent", -1, number), ("vocabulary", 0, len(lengths)), ("n_ctx", 1, 1 << 31),
                           ("at", -1, 1 << 31)):
        value = one.get(key)
        if type(value) is not int or not low <= value < high:
            raise FormatError(f"{where}: {key} is {shown(value)}, not a whole number from {low} to {high - 1}.")
    if one.get("how") not in HOW or not isinstance(one.get("shown"), bool):
        raise FormatError(f"{where}: how must be one of {', '.join(HOW)}, and shown true or false.")
    if not isinstance(one.get("opening"), str) or len(one["opening"]) > _LIMIT_TEXT:
        raise FormatError(f"{where}: opening must be a text of at most {_LIMIT_TEXT:,} characters.")
    receipt, shares = one.get("receipt"), one.get("probabilities")
    ids = receipt.get("ids") if isinstance(receipt, dict) else None
    symbols = lengths[one["vocabulary"]]
    if not isinstance(ids, list) or not all(type(i) is int and i in symbols for i in ids):
        raise FormatError(f"{where}: the ids of its receipt must be of its vocabulary.")
    if not isinstance(shares, list) or len(shares) != len(ids) or not all(
            isinstance(share, (int, float)) and not isinstance(share, bool) and 0 <= share <= 1 for share in shares):
        raise FormatError(f"{where}: probabilities must be {len(ids):,} numbers from 0 to 1.")
    return sum(symbols[i] for i in ids) + len(one["opening"])


def has(ws: Workspace, guid: str) -> bool:
    """Whether a conversation was kept with a model, readable or not."""
    try:
        ws.find(KIND, guid)
    except (NotFound, FormatError):
        return False
    return True
