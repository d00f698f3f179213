"""The filter over the table of models: words, regular expressions and comparisons. No Textual."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from babytui.tui.backend import Row

HELP = "words, a regular expression (^kit|dog$), not: -word, numbers: val<1.5 params>10k"
_COLUMNS = {"params": "params", "parameters": "params", "val": "val. loss", "loss": "val. loss", "train": "train loss",
            "tokens": "tokens", "steps": "steps", "size": "size", "ctx": "age"}
_COMPARISON = re.compile(r"([a-z]+)(<=|>=|<|>|=)([0-9.]+(?:e-?[0-9]+)?)([kmg]?)b?", re.ASCII)
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_SLOW = re.compile(r"[+*}]\)+[+*{]")  # a repetition of repetitions may take for ever
_HAS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b}
Test = Callable[["Row"], bool]


class Filter:
    """What a person typed: every part of it, parted by spaces, has to fit. problem: a sentence when a part is no
    regular expression; it is then searched for as it is."""

    def __init__(self, text: str):
        self.text = text.strip()
        self.problem = ""
        self._tests = [self._test(word) for word in self.text.lower().split()]

    def __bool__(self) -> bool:
        return bool(self._tests)

    def fits(self, row: Row) -> bool:
        """Whether this row is to be shown."""
        return all(test(row) for test in self._tests)

    def _test(self, word: str) -> Test:
        compared = _COMPARISON.fullmatch(word)
        if compared and compared[1] in _COLUMNS:
            return self._comparison(*compared.groups())
        if word.startswith("-") and len(word) > 1:
            inner = self._search(word[1:])
            return lambda row: not inner(row)
        return self._search(word)

    def _comparison(self, name: str, sign: str, number: str, unit: str) -> Test:
        try:
            wanted = float(number) * _UNITS[unit]
        except ValueError:
            self.problem = f"{number} is not a number."
            return lambda row: False

        def test(row: Row) -> bool:
            unknown, value = row.key(_COLUMNS[name])
            return not unknown and _HAS[sign](value, wanted)

        return test

    def _search(self, word: str) -> Test:
        if _SLOW.search(word):
            self.problem = f"{word} repeats a repetition, which may take for ever; it is searched for as it is."
            return lambda row: word in row.searchable or row.guid.startswith(word)
        try:
            found = re.compile(word)
        except re.error as error:
            self.problem = f"{word} is not a regular expression ({error.msg}); it is searched for as it is."
            return lambda row: word in row.searchable
        return lambda row: (found.search(row.name.lower()) is not None or found.search(row.searchable) is not None
                            or row.guid.startswith(word))
