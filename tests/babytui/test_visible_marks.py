"""No text drives the terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from babytui.visible import visible


def test_marks():
    assert visible("\x1b[31mred\x07") == "␛[31mred␇"
    assert visible("a\u202eb") == "a⟨U+202E⟩b"
    assert visible("\x9b2J") == "⟨U+009B⟩2J"
    assert visible("a\r\nb\tc") == "a␍\nb\tc"
    assert visible("a\nb\tc", newlines=False) == "a␊b␉c"
    assert visible("\x7f\u2028\ud800\ufeff") == "␡⟨U+2028⟩⟨U+D800⟩⟨U+FEFF⟩"


def test_ordinary_text_stays():
    for text in ("Hello, world!", "Grüße, Привет, 你好, नमस्ते, 👩\u200d👧", "a\nb", ""):
        assert visible(text) == text


@given(st.text(st.characters()))
def test_nothing_live_is_left(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert all(c in "\n\t\u200c\u200d" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
    assert visible(shown) == shown
    assert "\n" not in visible(text, newlines=False)
