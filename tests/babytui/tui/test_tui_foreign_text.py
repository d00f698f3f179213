"""The rule that foreign text is never markup and never drives the terminal: for what there is, and for what will be."""

from __future__ import annotations

import ast
import unicodedata
from pathlib import Path

import pytest
from hostile import PAYLOAD, SEQUENCES, evil
from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.widgets import Input, Label, Static, TextArea

from babytui.tui.app import LONGEST_NOTE, LONGEST_PASTE, PlaygroundApp
from babytui.tui.driver import Pastes
from babytui.tui.safe import plain, plain_lines
from babytui.tui.widgets.fields import ChoiceField
from babytui.tui.widgets.lines import Lines, fit
from babytui.tui.widgets.transcript import Transcript
from babytui.visible import visible
from store.workspace import Workspace

TUI = Path(__file__).resolve().parents[3] / "babytui" / "tui"


def live(text: str) -> set[str]:
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


class Careless(PlaygroundApp):
    """With widgets that show whatever they are given, as somebody may add one day."""

    def get_default_screen(self):
        from textual.screen import Screen

        class Bare(Screen):
            def compose(self) -> ComposeResult:
                yield Static(PAYLOAD, markup=False)
                yield Label(PAYLOAD.replace("\r", ""), markup=False)
                yield Lines([[(evil("lines"), "text")]])
                yield ChoiceField([evil("choice")], evil("choice"), name="choice")
                yield Input("\x1b[31mvalue", id="field")
                yield TextArea("\x1b[31mtext\u202e", id="area")
                yield Transcript(margin=9, id="talk")

        return Bare()

    def on_mount(self) -> None:
        pass


def painted(app: PlaygroundApp) -> str:
    """What the terminal is sent, without styles."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines)


@pytest.fixture
def careless(home):
    return Careless(Workspace(home / "w"))


async def test_what_is_painted_has_no_control_characters_whatever_widget_paints_it(careless):
    async with careless.run_test(size=(200, 60), notifications=True) as pilot:
        talk = careless.query_one(Transcript)
        talk.add(evil("block"), margin="\x1b[1m\u202e")
        talk.extend("\x1b[2mmore\ttabbed\x9b")
        careless.notify(evil("note"), title=evil("title"))
        await pilot.pause()
        shown = painted(careless)
        assert not live(shown)
        for word in ("lines␛[31m", "choice␛[31m", "␛[31mvalue", "␛[31mtext", "block␛[31m", "␛[2mmore    tabbed",
                     "note␛[31m", "title␛[31m", "[bold red]", "[@click=app.quit]"):
            assert word in shown, word


async def test_notifications_are_never_markup_and_never_a_screenful(careless):
    async with careless.run_test(size=(100, 40), notifications=True) as pilot:
        careless.notify("[@click=app.quit]a[/] [/nothing] [", markup=True)
        careless.notify("x" * 100_000)
        await pilot.pause()
        assert "[@click=app.quit]a[/]" in painted(careless)
        assert all(len(note.message) <= LONGEST_NOTE + 1 and not note.markup for note in careless._notifications)


async def test_the_clipboard_gets_marks(careless):
    """A person pastes it into a shell."""
    async with careless.run_test():
        careless.copy_to_clipboard("rm\r\x1b[201~\udc9b")
        assert careless.clipboard == "rm␍␛[201~⟨U+DC9B⟩"


async def test_what_is_pasted_is_what_is_seen(careless, until):
    async with careless.run_test(size=(100, 40)) as pilot:
        def held(field):
            return field.text if isinstance(field, TextArea) else field.value

        async def pasted(field, text):
            field.focus()
            await until(pilot, lambda: careless.focused is field)
            before = held(field)
            careless.post_message(events.Paste(text))
            await until(pilot, lambda: held(field) != before)
            return held(field)

        for wanted, text in (("#area", "one\n\ttwo␛[31m⟨U+202E⟩␇"), ("#field", "one")):
            assert text in await pasted(careless.query_one(wanted), "one\n\ttwo\x1b[31m\u202e\x07")
        area = careless.query_one("#area")
        assert (await pasted(area, "y" * (LONGEST_PASTE + 5))).count("y") == LONGEST_PASTE


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_keys_in_a_paste_are_text_wherever_it_is_cut(size):
    sent = ("key\x1b[20~" + Pastes.START + "one\x1b[20~\x1b\x1b[2\x1bOS\x1b[201" + "!" + "\x1b[200~" + Pastes.END
            + "\x1b[15~\x1b" + Pastes.START + Pastes.END + "end")
    wanted = ("key\x1b[20~" + Pastes.START + "one␛[20~␛␛[2␛OS␛[201" + "!" + "␛[200~" + Pastes.END
              + "\x1b[15~\x1b" + Pastes.START + Pastes.END + "end")
    pastes = Pastes()
    assert "".join(pastes.feed(sent[at: at + size]) for at in range(0, len(sent), size)) == wanted


def test_a_line_of_a_million_characters_is_cut_at_once():
    """What a file holds may be one line; it took minutes."""
    for text in ("x" * 1_000_000, "日" * 500_000, "e\u0301" * 500_000):
        assert sum(cell_len(piece) for piece, _ in fit([(text, "text")], 80)) <= 80


def test_plain_is_plain():
    for text in SEQUENCES.values():
        assert plain(text).plain == visible(text, newlines=False) and not plain(text).spans
    assert plain_lines(["a\nb", "\x1bc"]).plain == "a␊b\n␛c"


# --- the rule, for what will be ---------------------------------------------------------------------------------------

SINKS = {"Static", "Label", "Button", "Option", "Digits", "Link", "Collapsible", "TabPane", "Tab", "Checkbox",
         "RadioButton", "Markdown", "MarkdownViewer", "Header", "Tree", "TreeNode", "Rule", "Placeholder",
         "LoadingIndicator", "SelectionList", "Selection", "Select", "ListItem", "Log", "RichLog"}
METHODS = {"update", "add_row", "add_column", "update_cell", "add_option", "add_options", "add_leaf", "set_label"}
ATTRIBUTES = {"border_title", "border_subtitle", "tooltip", "label", "title", "sub_title", "loading_message"}
MAKERS = {"plain", "plain_lines", "hint_content", "_cell", "_heading"}  # these give text without markup
FORBIDDEN = {"from_markup", "from_ansi", "Markdown", "MarkdownViewer", "render_str"}


def harmless(node: ast.expr) -> bool:
    """Whether the code itself decides what is shown: constants, and what comes out of `plain`."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.JoinedStr):
        return all(isinstance(part, ast.Constant) or _is_number(part) for part in node.values)
    if isinstance(node, ast.Call):
        function = node.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        return name in MAKERS
    if isinstance(node, ast.Starred):
        return harmless(node.value)
    if isinstance(node, (ast.List, ast.Tuple)):
        return all(map(harmless, node.elts))
    if isinstance(node, (ast.GeneratorExp, ast.ListComp)):
        return harmless(node.elt) or (isinstance(node.elt, ast.Call) and _named(node.elt) in SINKS
                                      and all(map(harmless, node.elt.args)))
    if isinstance(node, ast.IfExp):
        return harmless(node.body) and harmless(node.orelse)
    return False


def _is_number(part: ast.expr) -> bool:
    """len(…), or a name that says so."""
    if not isinstance(part, ast.FormattedValue):
        return False
    return isinstance(part.value, ast.Call) and _named(part.value) == "len"


def _named(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def offences(source: str) -> list[str]:
    """Where text that is not the program's own may be taken for markup."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = _named(node)
            no_markup = any(word.arg == "markup" and isinstance(word.value, ast.Constant) and word.value.value is False
                            for word in node.keywords)
            shown = [*node.args, *(word.value for word in node.keywords if word.arg in ("label", "prompt", "title",
                                                                                        "tooltip", "content"))]
            if name in FORBIDDEN:
                found.append(f"{node.lineno}: {name}")
            elif name in SINKS or (name in METHODS and isinstance(node.func, ast.Attribute)):
                first = shown if name in ("add_row", "add_column", "add_options", "update_cell") else shown[:1]
                if name == "update_cell":
                    first = first[2:]
                if not no_markup and not all(map(harmless, first)):
                    found.append(f"{node.lineno}: {name}({ast.unparse(first[0])[:60]}…)")
            elif name == "Text":
                found.append(f"{node.lineno}: Text, instead of plain")
        if isinstance(node, ast.Assign):
            for target, value in _pairs(node):
                if isinstance(target, ast.Attribute) and target.attr in ATTRIBUTES and not harmless(value):
                    found.append(f"{node.lineno}: {target.attr} = {ast.unparse(value)[:60]}")
    return found


def _pairs(node: ast.Assign):
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=True)
        else:
            yield target, node.value


ALLOWED = {  # our own texts, which are not constants
    "screens/confirm.py": {"Button"}, "screens/costed_form.py": {"border_subtitle"},
    "screens/playground.py": {"update"}, "widgets/checklist.py": {"border_title", "border_subtitle"},
}


def test_every_widget_gets_plain_text():
    found = []
    for path in sorted(TUI.rglob("*.py")):
        name = str(path.relative_to(TUI))
        found += [f"{name}:{one}" for one in offences(path.read_text(encoding="utf-8"))
                  if name != "safe.py" and not any(f": {allowed}" in one for allowed in ALLOWED.get(name, ()))]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("source", [
    "Static(name)", "Static(f'{name}')", "Button(f'{self._yes} (y)')", "self.border_title = name",
    "table.add_row(name)", "Option(text)", "widget.tooltip = f'{path}'", "Text(name)", "Content.from_markup(x)",
    "label.update(name)", "Static(name + 'x')",
    "options.add_options([Option(o) for o in found])", "Markdown(text)", "Label(str(path))",
    "table.update_cell(row, column, text)", "TabPane(title)",
])
def test_the_rule_finds_what_it_should(source):
    assert offences(source)


@pytest.mark.parametrize("source", [
    "Static('x')", "Static(plain(name))", "Static(name, markup=False)", "Label(f'{len(x)} a')",
    "options.add_options([Option(plain(o)) for o in found])", "a.border_title = plain(b)",
])
def test_the_rule_lets_pass_what_it_should(source):
    assert not offences(source)
