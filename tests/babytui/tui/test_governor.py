"""The governor against a simulated link, the economy of colours against a terminal, and frames that are left out."""

from __future__ import annotations

import random
import re

import pytest

from babytui.tui import governor
from babytui.tui.governor import FIRST_WINDOW, HELD, LEVELS, SMALLEST_WINDOW, Governor
from babytui.tui.sgr import Economy


class Wire:
    """A link of so many bytes a second, with a distance. Frames and the terminal's answers, in simulated time."""

    def __init__(self, rate: float, distance: float = 0.005, answers: bool = True, **options: object):
        self.rate, self.distance, self.answers = rate, distance, answers
        self.now = 0.0
        self.governor = Governor(**options)  # type: ignore[arg-type]
        self.queue = 0.0  # bytes that have not left
        self.sent = 0
        self.largest = 0.0
        self._questions: list[tuple[float, float]] = []  # bytes before it that have to leave, and then when
        self.paint(100)  # how the app begins
        for _ in range(100):
            self._go_on(0.005)

    def run(self, seconds: float, every: float, size: int, lag: float = 0.0) -> int:
        """Something changes again and again; how many frames were painted."""
        painted, wish, tick, end = 0, self.now, self.now + 0.5, self.now + seconds
        wanted = False
        while self.now < end:
            self._go_on(0.005)
            if self.now >= wish:
                wish += every
                wanted = True
            if wanted:
                if self.governor.wait(self.now) == 0.0:
                    self.paint(size)
                    painted += 1
                    wanted = False
                elif self.governor.full(self.now):
                    self.governor.dropped()
            if self.now >= tick:
                tick += 0.5
                self.governor.tick(self.now, lag)
        return painted

    def paint(self, size: int) -> None:
        link = self.governor.link
        link.queue(size)
        self.governor.painted(self.now)
        room = HELD - self.queue if not self.answers else float("inf")
        waited = max(0.0, size - room) / self.rate
        asked = self.answers and link.ask(self.now)
        self.queue += size
        self.sent += size
        self.largest = max(self.largest, self.queue)
        link.write(size, waited, self.now + waited)
        if asked:
            self._questions.append((self.sent, 0.0))

    def _go_on(self, seconds: float) -> None:
        self.now += seconds
        self.queue = max(0.0, self.queue - self.rate * seconds)
        for n, (sent, arrives) in enumerate(self._questions):
            if not arrives and self.sent - self.queue >= sent:
                self._questions[n] = (sent, self.now + 2 * self.distance)
        while self._questions and 0 < self._questions[0][1] <= self.now:
            self._questions.pop(0)
            self.governor.link.answer(self.now)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governor, "_present", None)


def test_a_quick_link_is_left_alone():
    wire = Wire(10e6)
    assert wire.run(60, 0.05, 2000) > 1100
    assert wire.governor.level.name == "full" and wire.governor.said == "" and wire.governor.link.window >= FIRST_WINDOW


@pytest.mark.parametrize("distance", [0.005, 0.15])
def test_a_distant_link_is_no_slow_one(distance: float):
    wire = Wire(2e6, distance)
    wire.run(60, 0.1, 1500)
    assert wire.governor.level.name == "full"


@pytest.mark.parametrize("answers", [True, False])
def test_a_slow_link_gets_less_and_never_a_queue(answers: bool):
    """10 kB/s, and an app that would paint 40 kB/s. What is on its way takes a key's echo at most so long."""
    wire = Wire(10e3, answers=answers)
    wire.run(30, 0.05, 4000)
    assert wire.governor.level.name == "thin" and wire.governor.said.startswith("slow link: ")
    wire.largest = 0.0
    frames = wire.run(30, 0.05, 4000)
    assert 20 <= frames <= 45, "about one in a second, and a look whether more is possible"
    assert wire.largest <= SMALLEST_WINDOW + 4000 + (0 if answers else HELD / 2)
    assert wire.sent / wire.now < 10e3


def test_it_comes_back_slowly_and_more_slowly_when_that_was_wrong():
    wire = Wire(10e3)
    wire.run(20, 0.05, 4000)
    assert wire.governor.level.name == "thin"
    wire.rate = 10e6
    wire.run(9, 0.05, 300)
    assert wire.governor.level.name == "thin", "not at once"
    wire.run(60, 0.05, 300)
    assert wire.governor.level.name == "full"
    patience = wire.governor._patience
    wire.rate = 10e3
    wire.run(20, 0.05, 4000)
    assert wire.governor.level.name == "thin" and wire.governor._patience > patience


def test_a_key_is_painted_first_however_rarely_the_rest_is():
    wire = Wire(10e3, fixed="thin")
    wire.run(20, 0.05, 1000)
    begun = wire.now
    while wire.governor.full(wire.now):
        wire._go_on(0.005)
    assert wire.now - begun < 0.3
    wire.paint(500)
    wire._go_on(0.15)
    assert wire.governor.wait(wire.now) > 0
    wire.governor.pressed(wire.now)
    assert wire.governor.wait(wire.now) == 0


def test_a_terminal_that_stops_answering_is_not_waited_for_for_ever():
    wire = Wire(1e6)
    wire.run(5, 0.1, 2000)
    wire._questions.clear()
    wire.answers = False
    assert wire.run(20, 0.1, 2000) > 100


@pytest.mark.parametrize("seconds", [0.05, 1.0, 60.0])
@pytest.mark.parametrize("stalls", [1, 5])
def test_a_terminal_that_stood_still_is_not_taken_for_a_slow_one(stalls: int, seconds: float):
    """Ctrl+S, or a machine that had better things to do than to read; it answers no questions."""
    wire = Wire(10e6, answers=False)
    wire.run(5, 0.05, 2000)
    for _ in range(stalls):
        wire.governor.link.queue(1024)
        wire.now += seconds
        wire.governor.link.write(1024, seconds, wire.now)
        assert wire.run(1.0, 0.05, 2000) >= 1
    wire.run(60, 0.05, 2000)
    assert wire.run(5, 0.05, 2000) >= (5 if seconds == 0.05 else 98), "several so short ones look like 20 kB/s"


def test_a_loop_that_is_late_paints_less():
    wire = Wire(10e6)
    wire.run(10, 0.1, 500, lag=0.5)
    assert wire.governor.said.startswith("busy machine: ")


@pytest.mark.parametrize("name", governor.NAMES)
def test_a_fixed_level_is_kept_and_not_spoken_of(name: str):
    wire = Wire(10e3, fixed=name)
    wire.run(20, 0.05, 2000)
    assert wire.governor.level.name == name and wire.governor.said == ""


def test_the_most_frames_a_second_are_a_persons_choice():
    assert Wire(10e6, most=2).run(10, 0.01, 100) <= 21
    assert Governor("nonsense").level is LEVELS[0]


def test_what_threads_wait_follows_the_level():
    assert governor.period(0.25) == 0.25
    Governor("slow").made_present()
    assert governor.period(0.25) == 1.0 and governor.period(3.0) == 3.0


# --- colours ----------------------------------------------------------------------------------------------------------

def shown(text: str) -> list[tuple[str, frozenset[str], str, str]]:
    """Every character with its style, as a terminal would show it: the slow, obvious reading."""
    cells, style = [], {"on": frozenset(), "ink": "", "ground": ""}
    for sgr, other, character in re.findall("\x1b\\[([0-9;]*)m|(\x1b\\[[0-9;]*[A-Za-z])|(.)", text, re.DOTALL):
        if character or other:
            plain = (character or other, style["on"], style["ink"], style["ground"])
            cells.append((character or other, frozenset(), "", "") if character == "\n" or other else plain)
            continue
        words = sgr.split(";")
        while words:
            word = words.pop(0) or "0"
            if word in ("38", "48"):
                count = 4 if words[0] == "2" else 2
                style["ink" if word == "38" else "ground"] = ";".join([word, *words[:count]])
                words = words[count:]
            elif word == "0":
                style = {"on": frozenset(), "ink": "", "ground": ""}
            elif word in ("39", "49"):
                style["ink" if word == "39" else "ground"] = ""
            elif len(word) == 1:
                style["on"] |= {word}
            else:
                style["ink" if word[0] in "39" and word[:2] != "10" else "ground"] = word
    return cells


@pytest.mark.parametrize("seed", range(20))
def test_the_same_cells_in_fewer_bytes(seed: int):
    chance = random.Random(seed)
    inks = ["", "31", "97", "38;5;200", "38;2;1;2;3", "38;2;200;100;50"]
    grounds = ["", "40", "104", "48;5;17", "48;2;9;8;7"]
    economy, given, made = Economy(), "", ""
    for _ in range(200):
        style = ";".join(filter(None, [*chance.sample(["1", "2", "3", "4", "7"], chance.choice([0, 0, 1, 2])),
                                       chance.choice(inks), chance.choice(grounds)]))
        text = "".join(chance.choice("ab ⣿█\n") for _ in range(chance.randrange(4)))
        piece = f"\x1b[{style}m{text}\x1b[0m" if style else text
        if chance.random() < 0.2:
            piece = f"\x1b[{chance.randrange(1, 40)};{chance.randrange(1, 120)}H" + piece
        given += piece
        made += economy.feed(piece)
    given, made = given + "\x1b[0m", made + economy.feed("\x1b[0m")
    assert shown(made) == shown(given)
    assert len(made) < 0.75 * len(given)
    assert "\x1b[m\x1b[?1049l" in economy.feed("\x1b[31mred") + economy.feed("\x1b[0m\x1b[?1049l"), "given back plain"


def test_other_threads_leave_the_interpreter_to_a_key_until_its_frame() -> None:
    found = Governor()
    assert not found.answering(0.0)
    found.pressed(10.0)
    assert found.answering(10.001)
    found.answered(9.99)  # a frame that was begun before it
    assert found.answering(10.01)
    found.answered(10.02)
    assert not found.answering(10.021)
    found.pressed(11.0)  # one that changes nothing is not waited for
    assert found.answering(11.04) and not found.answering(11.06)


def test_who_types_comes_before_what_moves_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Governor()
    monkeypatch.setattr(governor, "_present", found)
    monkeypatch.setattr(governor.time, "monotonic", lambda: 20.0)
    found.painted(19.0)
    assert not governor.typing() and governor.period(0.25) == 0.25
    found.pressed(19.9)
    assert governor.typing() and governor.period(0.25) == governor.BEHIND and governor.period(2) == 2
