"""A conversation in the workspace: what `store.conversations` keeps of a tree, and the tree that it was."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from babytui import receipts
from babytui.conversation import Conversation, Exchange
from engine.errors import NotFound
from store import conversations
from store.atomic import shown_path
from store.workspace import Workspace


@dataclass(frozen=True)
class Row:
    """An exchange as it was. parent: the place of another in the list, -1 for none."""

    exchange: Exchange
    parent: int
    shown: bool


def snapshot(talk: Conversation) -> list[Row]:
    """The tree at this moment, for a thread: what is said later does not change it. What has no reply is left out, and
    what came after it hangs where it hung."""
    rows: list[Row] = []
    places: dict[int, int] = {id(talk.root): -1}
    for _, one in talk.branches():
        parent = one.parent or talk.root
        places[id(one)] = places[id(parent)]
        last = one.parts[-1] if one.parts else None
        size = last.keep + (last.chosen is not None) + last.tokens if last else 0
        if last and size <= len(one.ids):  # a token that was put there and not gone on from has no receipt
            places[id(one)] = len(rows)
            copy = replace(one, ids=one.ids[:size], probabilities=one.probabilities[:size], parts=one.parts[:],
                           parent=None, children=[], chosen=0)
            rows.append(Row(copy, places[id(parent)], parent.children[parent.chosen] is one))
    return rows


def save(workspace: Workspace, guid: str, rows: Sequence[Row]) -> None:
    """Keeps a conversation with a model; an empty one is none. StoreError, FormatError."""
    if not rows:
        conversations.forget(workspace, guid)
        return
    used: list[tuple[tuple[str, str], dict[int, str]]] = []
    exchanges = []
    for row in rows:
        one = row.exchange
        symbols = {i: one.vocab[i] for i in one.ids}
        whose = (one.parts[-1].origin.guid, one.separator)
        number = next((number for number, (known, texts) in enumerate(used) if known == whose and all(
            texts.get(i, text) == text for i, text in symbols.items())), len(used))
        if number == len(used):
            used.append((whose, {}))
        used[number][1].update(symbols)
        exchanges.append(conversations.encoded({
            "parent": row.parent, "shown": row.shown, "how": one.how, "at": one.at, "vocabulary": number,
            "n_ctx": one.n_ctx, "opening": one.opening,
            "probabilities": [round(share, 4) for share in one.probabilities],
            "receipt": one.receipt().to_dict()}))
    conversations.save(workspace, guid, {
        "vocabularies": [{"separator": separator, "symbols": sorted([i, text] for i, text in texts.items())}
                         for (_, separator), texts in used], "exchanges": exchanges})


def load(workspace: Workspace, guid: str, vocab: Sequence[str] | None = None) -> Conversation | None:
    """The conversation that was kept with a model; None when there is none. vocab: of the model as it is now, which
    goes on with replies whose tokens are all in it. StoreError, FormatError."""
    try:
        raw = conversations.load(workspace, guid)
    except NotFound:
        return None
    name = shown_path(workspace.path(conversations.KIND, guid).name)
    vocabularies = [_vocabulary(one["symbols"], vocab) for one in raw["vocabularies"]]
    talk, made = Conversation(), list[Exchange]()
    for number, row in enumerate(raw["exchanges"]):
        receipt = receipts.parse(row["receipt"], f"{name}: exchange {number}")
        one = Exchange(receipt.prompt or "", list(receipt.prompt_ids), row["opening"], vocabularies[row["vocabulary"]],
                       raw["vocabularies"][row["vocabulary"]]["separator"], row["n_ctx"], row["how"], row["at"],
                       array("I", receipt.ids), array("f", row["probabilities"]), list(receipt.parts),
                       versions=receipt.versions)
        talk.hang(one, made[row["parent"]] if row["parent"] >= 0 else talk.root, shown=row["shown"])
        made.append(one)
    talk.prune()
    return talk


def _vocabulary(symbols: list[Any], vocab: Sequence[str] | None) -> Sequence[str]:
    """The model's own, when it has these symbols under these ids; otherwise one with nothing but them."""
    if vocab is not None and all(i < len(vocab) and vocab[i] == text for i, text in symbols):
        return vocab
    found = [""] * (max((i for i, _ in symbols), default=-1) + 1)
    for i, text in symbols:
        found[i] = text
    return found
