"""The shell in a terminal: editing, completion, history, suggestions and a toolbar, with prompt_toolkit.

Whatever reaches the terminal is ours or made visible: commands print through the guard of babytui.streams, and what
prompt_toolkit paints goes through `Screen`.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, TextIO, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, create_app_session, get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER, EditingMode
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History as Kept
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.patch_stdout import StdoutProxy
from prompt_toolkit.styles import Style

from babytui import completion, settings
from babytui.actions import SHELL
from babytui.history import History
from babytui.shell.shell import WATCHING, Shell, command_of
from babytui.shell.watcher import Board, Watcher
from babytui.streams import behind
from babytui.visible import cut, visible
from engine.errors import BabyError

WELCOME = "A text is continued by the model. /help lists the commands, ctrl+d leaves."
LONGEST_PASTE = 100_000
STYLE = Style.from_dict({
    "prompt": "bold ansicyan", "sign": "ansicyan", "bottom-toolbar": "noreverse", "toolbar": "ansibrightblack",
    "toolbar.warn": "ansiyellow", "auto-suggestion": "ansibrightblack",
    "completion-menu": "bg:default", "completion-menu.completion": "bg:default fg:default",
    "completion-menu.completion.current": "reverse bold", "completion-menu.meta.completion": "bg:default "
    "fg:ansibrightblack", "completion-menu.meta.completion.current": "bg:default fg:default",
    "scrollbar.background": "bg:default", "scrollbar.button": "reverse",
})


class Screen(Vt100_Output):
    """prompt_toolkit's output, but a text that is written can never drive the terminal."""

    def write(self, data: str) -> None:
        moves = not data.strip("\r\n")  # prompt_toolkit's own
        super().write(data if moves or data.isprintable() else "\r\n".join(map(_cells, data.split("\r\n"))))

    def get_rows_below_cursor_position(self) -> int:
        """At least the one it stands in; prompt_toolkit shows no toolbar before it knows of one."""
        return 1


def _cells(text: str) -> str:
    """One cell for one character, as the line was laid out."""
    marks = (character if character == "\n" else visible(character, newlines=False) for character in text)
    return "".join(mark if len(mark) == 1 else "\N{REPLACEMENT CHARACTER}" for mark in marks)


def screen(stream: TextIO) -> Screen:
    """The terminal behind a stream. It is never asked where its cursor is: the answer of a slow link would arrive as if
    it had been typed."""

    def size() -> Any:
        from prompt_toolkit.data_structures import Size

        with suppress(OSError, ValueError):
            columns, rows = os.get_terminal_size(stream.fileno())
            if columns and rows:
                return Size(rows=rows, columns=columns)
        return Size(rows=24, columns=80)

    return Screen(stream, size, term=os.environ.get("TERM"), enable_bell=False, enable_cpr=False)


class Remembered(Kept):
    """Our history file, as prompt_toolkit wants it."""

    def __init__(self, history: History):
        super().__init__()
        self._history = history

    def load_history_strings(self) -> Iterable[str]:
        return reversed(self._history.entries)

    def store_string(self, string: str) -> None:
        """Stored by `append_string`."""

    def append_string(self, string: str) -> None:
        if self._history.add(string):
            self._loaded_strings.insert(0, string)


class Commands(Completer):
    """Completions of lines that begin with a slash."""

    def __init__(self, shell: Shell):
        self.engine = completion.Completer(shell.workspace, SHELL)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text, at = document.text, document.cursor_position
        if not is_command(text) or at == 0:
            return
        for one in self.engine.complete(text[1:], at - 1):
            yield Completion(one.text, start_position=one.start + 1 - at, display=one.display,
                             display_meta=cut(one.meta, 60))

    def hint(self, text: str, at: int) -> str:
        """What is meant at the cursor."""
        return self.engine.hint(text[1:], at - 1) if is_command(text) and at else ""


def is_command(text: str) -> bool:
    """Whether a line is a command as it is typed."""
    return text.startswith("/") and not text.startswith("//")


class Session:
    """One session in a terminal. input, output: prompt_toolkit's, for tests; otherwise the process's own."""

    def __init__(self, shell: Shell, *, input: Input | None = None, output: Output | None = None):
        self.shell = shell
        self._input, self._output = input, output
        self.commands = Commands(shell)
        self.board = Board(lambda line: print(line, flush=True))
        self.watcher = Watcher(shell.workspace, lambda: shell.follow, self.board.add, self._invalidate)
        self._app: Application[str] | None = None
        self._unknown_for: str | None = None  # a text that Enter was pressed for already
        self._signal = 0
        shell.ran = self._ran
        shell.aside = _quiet_keyboard

    def run(self) -> int:
        """Reads lines until ctrl+d, /quit or a signal. 0, or 128 + the signal."""
        output = self._output or screen(behind(sys.stdout))
        if self._output is None:
            print(WELCOME)
        with create_app_session(input=self._input, output=output), self._heeding():
            session = self._session()
            self._app = session.app
            threading.Thread(target=self._read_model, daemon=True).start()
            self.watcher.start()
            try:
                while not (self.shell.leaving or self._signal):
                    try:
                        line = self._ask(session)
                    except KeyboardInterrupt:
                        continue
                    except EOFError:
                        break
                    self._take(line)
            except _Ended:
                pass
            finally:
                self.watcher.stop()
        return 128 + self._signal if self._signal else 0

    def _ask(self, session: PromptSession[str]) -> str:
        self._unknown_for = None
        with _above():
            self.board.open()
            try:
                return session.prompt()
            finally:
                self.board.close()

    def _take(self, line: str) -> None:
        with suppress(KeyboardInterrupt):  # one that came between two lines
            if line == self._unknown_for and not command_of(line):
                self.shell.reply(line, skip=True)
            else:
                self.shell.take(line)

    def _invalidate(self) -> None:
        """Paints the toolbar again; from any thread."""
        if self._app is not None and self._app.is_running:
            self._app.invalidate()

    def _ran(self, name: str) -> None:
        if name in WATCHING:
            with suppress(BabyError, OSError):
                self.watcher.skip()
                self.board.drop()
        self.watcher.again()

    def _read_model(self) -> None:
        """Beforehand, so that unknown symbols can be told while they are typed. What is wrong is told when it is
        needed."""
        with suppress(Exception):
            self.shell.baby()
        self._invalidate()

    # --- signals ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _heeding(self) -> Iterator[None]:
        """SIGHUP and SIGTERM leave by the same way as ctrl+d, so that the terminal is given back as it was."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._ended) for number in (signal.SIGHUP, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ended(self, number: int, frame: object) -> None:
        self._signal = number
        app = get_app()
        if app.is_running and app.loop is not None and not app.is_done:
            app.loop.call_soon_threadsafe(lambda: app.exit(exception=EOFError) if not app.is_done else None)
        else:
            raise _Ended

    # --- the prompt ---------------------------------------------------------------------------------------------------

    def _session(self) -> PromptSession[str]:
        vi = settings.get("shell.editing") == "vi"
        return PromptSession(
            self._message, multiline=True, completer=ThreadedCompleter(self.commands),
            complete_while_typing=Condition(lambda: is_command(get_app().current_buffer.text)),
            auto_suggest=AutoSuggestFromHistory(), history=Remembered(self.shell.history),
            prompt_continuation=lambda width, number, wrapped: "" if wrapped else "… ".rjust(width),
            bottom_toolbar=self._toolbar, mouse_support=False, enable_suspend=True,
            editing_mode=EditingMode.VI if vi else EditingMode.EMACS, key_bindings=self._keys(), style=STYLE,
            color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else ColorDepth.DEPTH_4_BIT,
            reserve_space_for_menu=6)

    def _message(self) -> StyleAndTextTuples:
        return [("class:prompt", cut(self.shell.name or "babytui", 20)), ("class:sign", " > ")]

    def _toolbar(self) -> StyleAndTextTuples:
        """One line: symbols that the model does not know, else what a command means, else the live run."""
        buffer = get_app().current_buffer
        room = get_app().output.get_size().columns - 1
        text = buffer.text
        if is_command(text):
            said = self.commands.hint(text, buffer.cursor_position) or "/help lists the commands"
        elif missing := [] if self.shell.value("skip_unknown") else self.shell.missing(text.removesuffix("\\")):
            symbols = " ".join(visible(symbol, newlines=False) for symbol in missing[:12])
            then = "Enter again leaves them out" if self._unknown_for == text else "Enter twice sends without them"
            return [("class:toolbar.warn", cut(f"not in its vocabulary: {symbols} · {then}", room))]
        else:
            said = self.watcher.text or f"{self.shell.workspace.root} · /help"
        return [("class:toolbar", cut(said, room))]

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)

        @keys.add(Keys.Enter, filter=typing)
        def enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.complete_state and buffer.complete_state.current_completion:
                buffer.complete_state = None  # it stands in the line already
            elif buffer.document.text_before_cursor.endswith("\\") and buffer.document.is_cursor_at_the_end:
                buffer.delete_before_cursor(1)
                buffer.insert_text("\n")
            elif not is_command(buffer.text) and self._unknown_for != buffer.text and not self.shell.value(
                    "skip_unknown") and self.shell.missing(buffer.text):
                self._unknown_for = buffer.text
            else:
                buffer.validate_and_handle()

        @keys.add(Keys.Escape, Keys.Enter, filter=typing)
        def new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add(Keys.BracketedPaste)
        def paste(event: KeyPressEvent) -> None:
            """What is seen is what is sent."""
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            event.current_buffer.insert_text(visible(text[:LONGEST_PASTE]))

        return keys


class _Above(StdoutProxy):
    """What is printed appears above the prompt; its thread belongs to our terminal, not to the process's first one."""

    def _start_write_thread(self) -> threading.Thread:
        thread = threading.Thread(target=copy_context().run, args=(self._write_thread,), daemon=True)
        thread.start()
        return thread


@contextmanager
def _above() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    with _Above() as proxy:
        sys.stdout = sys.stderr = cast(TextIO, proxy)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _Ended(BaseException):
    """A signal has come while no prompt stood."""


@contextmanager
def _quiet_keyboard() -> Iterator[None]:
    """What is typed meanwhile is not shown in the middle of a reply; the next prompt gets it."""
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (OSError, ValueError, termios.error):
        yield
        return
    quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSANOW, before)
