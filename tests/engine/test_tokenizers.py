"""Text to ids and back, exactly."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine import registry
from engine.errors import FormatError, TextError
from engine.tokenizer import _base
from engine.tokenizer._base import id_type

KINDS = ("char", "word")
every_kind = pytest.mark.parametrize("kind", KINDS)
# any code point, lone surrogates included, and runs of white space of all kinds
white = st.text(" \n\t\r\x1c\x85\u00a0\u2028\u3000", min_size=1, max_size=3)
words = st.text(st.one_of(st.characters(), st.characters(categories=["Cs"])), max_size=4)
few = st.sampled_from(["a", "b", "a b", "  ", " "])  # so that two texts have something in common
any_text = st.lists(st.one_of(white, words, few), max_size=12).map("".join)
texts = any_text.filter(bool)


def tokenizer(kind: str, text: str):
    return registry.tokenizer.get(kind).fit(text)


@every_kind
@given(text=texts)
@example(text=" ")
@example(text="\ud800\U0001f476\x00\x1c")
def test_decoding_gives_the_text_back(kind, text):
    known = tokenizer(kind, text)
    ids = known.encode(text)
    assert known.decode(ids) == text
    assert ids.dtype == id_type(len(known.vocab)) and ids.ndim == 1
    assert set(ids.tolist()) == set(range(len(known.vocab)))
    assert known.missing(text) == [] and known.keep(text) == text


@every_kind
@given(text=texts)
def test_vocabularies_are_sorted_and_distinct(kind, text):
    vocab = tokenizer(kind, text).vocab
    assert vocab == sorted(set(vocab)) and all(vocab)
    if kind == "char":
        assert vocab == sorted(set(text))
    else:
        assert {piece for piece in vocab if not piece.isspace()} == set(text.split())


def slow_pieces(text: str) -> list[str]:
    """Runs of white space and of anything else, one character at a time."""
    runs: list[str] = []
    for character in text:
        if runs and runs[-1][-1].isspace() == character.isspace():
            runs[-1] += character
        else:
            runs.append(character)
    return runs


@given(text=texts)
def test_words_are_runs(text):
    known = tokenizer("word", text)
    assert [known.vocab[i] for i in known.encode(text)] == slow_pieces(text)


@every_kind
@given(known_text=texts, text=texts)
def test_missing_and_extend(kind, known_text, text):
    known = tokenizer(kind, known_text)
    missing = known.missing(text)
    assert missing == sorted(set(missing)) and not set(missing) & set(known.vocab)
    try:
        ids = known.encode(text)
        assert missing == [] and (known.decode(ids) == text or known.separator)
    except TextError as error:
        assert missing and str(error).isprintable()
    extended = known.extend(text)
    assert extended.vocab == [*known.vocab, *missing] and type(extended) is type(known)
    if kind == "char" or not known.separator:
        assert extended.decode(extended.encode(text)) == text
        assert np.array_equal(extended.encode(known_text), known.encode(known_text)), "old ids keep their meaning"


@every_kind
@given(known_text=texts, text=any_text)
@example(known_text="a b", text="a x b")
@example(known_text="a b", text="a\tb")
def test_what_is_kept_can_be_encoded(kind, known_text, text):
    known = tokenizer(kind, known_text)
    kept = known.keep(text)
    assert known.decode(known.encode(kept)) == kept
    if kind == "char":
        assert kept == "".join(character for character in text if character in known_text)


@pytest.mark.parametrize(("size", "name"), [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"),
                                              (65537, "uint32")])
@every_kind
def test_ids_take_the_smallest_type(kind, size, name):
    pieces = [chr(0x4E00 + i) for i in range(size)]
    known = registry.tokenizer.get(kind)(pieces)
    assert len(known.vocab) == size
    ids = known.encode(pieces[-1])
    assert ids.dtype == np.dtype(name) and ids.tolist() == [size - 1]


# Long texts, which are read in blocks and may come in parts -----------------------------------------------------------


def slow_encode(kind: str, text: str) -> tuple[list[str], list[int]]:
    """The vocabulary and the ids, by a dict and one piece after the other."""
    pieces = list(text) if kind == "char" else slow_pieces(text)
    vocab = sorted(set(pieces))
    places = {piece: place for place, piece in enumerate(vocab)}
    return vocab, [places[piece] for piece in pieces]


@every_kind
@given(parts=st.lists(any_text, max_size=8).filter(any))
def test_parts_are_read_as_the_whole(kind, parts):
    text = "".join(parts)
    known = registry.tokenizer.get(kind).fit(parts)
    assert (known.vocab, known.encode(parts).tolist()) == slow_encode(kind, text)
    assert known.count(parts) == known.count(text) == len(known.encode(text))
    assert known.distinct(parts) == set(known.vocab) and known.missing(iter([*parts, " \u1234"])) == \
        tokenizer(kind, text).missing(text + " \u1234")


@pytest.mark.parametrize("block", [1, 2, 7])
@every_kind
@given(text=texts)
def test_blocks_cut_nothing(kind, block, text):
    parts = [text[at : at + block] for at in range(0, len(text), block)]
    known = registry.tokenizer.get(kind).fit(parts)
    assert (known.vocab, known.encode(parts).tolist()) == slow_encode(kind, text)


@every_kind
def test_what_was_forgotten_is_made_again(kind, monkeypatch):
    monkeypatch.setattr(_base, "_KEPT", 5)
    text = "".join(f"{chr(0x4E00 + i * i % 97)} {i * i % 89}\n" for i in range(500))
    known = tokenizer(kind, text)
    assert (known.vocab, known.encode(text).tolist()) == slow_encode(kind, text)
    assert known.count(text) == len(slow_encode(kind, text)[1])


@pytest.mark.parametrize("text", ["x" * 100_000, " " * 100_000, "one " + "x" * 100_000 + " two"])
def test_a_word_of_many_blocks(text):
    known = tokenizer("word", text)
    assert (known.vocab, known.encode(text).tolist()) == slow_encode("word", text)


class Repeated:
    """A part, `times` over: a long text that takes no memory."""

    def __init__(self, part: str, times: int):
        self.part, self.times = part, times

    def __iter__(self):
        return (self.part for _ in range(self.times))


@pytest.mark.parametrize("symbols", [pytest.param(100, id="uint8", marks=pytest.mark.slow),
                                     pytest.param(3000, id="uint16")])
@every_kind
def test_a_long_text_takes_the_memory_of_its_ids(kind, symbols):
    part = "".join(chr(0x4E00 + i % symbols) + ("" if kind == "char" else " ") for i in range(50_000))
    text = Repeated(part, 60 if kind == "char" else 4)
    tracemalloc.start()
    try:
        known = registry.tokenizer.get(kind).fit(text)
        assert known.count(text) == (3_000_000 if kind == "char" else 400_000)
        assert known.missing(text) == []
        assert tracemalloc.get_traced_memory()[1] < 2_500_000, "nothing of the text is kept"
        ids = known.encode(text)
        assert tracemalloc.get_traced_memory()[1] < 1.13 * ids.nbytes + 2_500_000, "an eighth to grow into"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 3])
def test_characters_across_the_borders_of_blocks(length):
    text = "ab\u00e9\U0001f476" * (length // 4) + "xyz"[: length % 4]
    known = tokenizer("char", text)
    ids = known.encode(text)
    assert len(ids) == len(text) == length
    for at in (0, (1 << 20) - 2, (1 << 20) - 1, 1 << 20, length - 1):
        if at < length:
            assert known.vocab[ids[at]] == text[at]
    assert known.decode(ids) == text
    with pytest.raises(TextError, match="'Q'"):
        known.encode(text + "Q")


def test_symbols_only_in_a_later_block_are_found():
    text = "a" * (1 << 20) + "z"
    assert tokenizer("char", text).vocab == ["a", "z"]
    assert tokenizer("char", "a").missing(text) == ["z"]


@every_kind
def test_nothing_cannot_be_learned_from(kind):
    with pytest.raises(TextError, match="empty"):
        tokenizer(kind, "")


@every_kind
def test_no_text_has_no_ids(kind):
    known = tokenizer(kind, "a b")
    assert known.encode("").shape == (0,) and known.decode([]) == known.keep("") == ""


@every_kind
def test_a_damaged_vocabulary(kind):
    with pytest.raises(FormatError, match="twice"):
        registry.tokenizer.get(kind)(["a", "b", "a"])


def test_unknown_symbols_are_named():
    known = tokenizer("char", "abc")
    with pytest.raises(TextError, match=r"1 symbol that the vocabulary lacks: 'z';"):
        known.encode("abz")
    with pytest.raises(TextError) as caught:
        known.encode("a\x1b[31m\u202e\ud800")
    message = str(caught.value)
    assert message.isprintable() and "x1b" in message and "u202e" in message and message.endswith(".")
    with pytest.raises(TextError) as caught:
        known.encode("".join(chr(0x3B1 + i) for i in range(12)))
    assert "12 symbols" in str(caught.value) and "and 4 more" in str(caught.value)
    with pytest.raises(TextError, match="'crow'"):
        tokenizer("word", "the cat").encode("the crow")


def test_the_message_stays_short_whatever_the_word():
    with pytest.raises(TextError) as caught:
        tokenizer("word", "the cat").encode("x" * 100_000)
    assert len(str(caught.value)) < 1000


def test_word_vocabularies_of_the_earlier_program():
    """Words alone: cut at white space, joined by one space."""
    known = registry.tokenizer.get("word")(["cat", "sat", "the"])
    assert known.encode("the  cat\nsat").tolist() == [2, 0, 1]
    assert known.decode([2, 0, 1]) == "the cat sat"
    assert known.missing("the dog sat") == ["dog"] and known.keep("the  dog sat") == "the sat"
    assert known.extend("a cat").vocab == ["cat", "sat", "the", "a"]
    assert known.extend("a cat").decode([3, 0]) == "a cat"


def test_decoding_takes_any_iterable():
    known = tokenizer("char", "abc")
    for ids in ([0, 2], (0, 2), iter([0, 2]), np.array([0, 2], np.uint8), np.array([0, 2])):
        assert known.decode(ids) == "ac"
