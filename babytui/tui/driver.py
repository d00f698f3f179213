"""The terminal the app runs in, and what signals mean: it is given back whole, however the app ends or stops."""

from __future__ import annotations

import os
import select
import selectors
import signal
import termios
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from textual import events
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from babytui import settings
from babytui.tui.bindings import key_of
from babytui.tui.governor import ANSWER, Governor
from babytui.tui.writer import Writer

GRACE = 5.0  # seconds that leaving may take after a signal
_LEAVE = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_RESTORE = (b"\x1b[m\x1b[?2004l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1004l\x1b[<u\x1b[?7h\x1b[?1049l"
            b"\x1b[?25h")


class Terminal(LinuxDriver):
    """Textual's driver, which knows of no signal but SIGTSTP and SIGCONT, and takes SIGCONT for the answer to SIGTSTP.

    SIGTERM, SIGHUP and SIGINT end the app with 128 plus their number; a second one ends it at once, and so do GRACE
    seconds in which it could not (a thread is at work, the terminal takes nothing). A terminal that is gone ends it
    too, even where SIGHUP is ignored (nohup). SIGTSTP (ctrl+z) gives the terminal back and stops the whole process
    group, as the terminal itself would; where no shell could bring it back, nothing is stopped.
    """

    def __init__(self, app: Any, **options: Any):
        super().__init__(app, **options)
        self.governor = Governor(settings.get("pace"), settings.get("refresh"))
        self._writer: Writer | None = None
        self._suspended = self._active = False
        self._at_start: list[Any] | None = None
        try:
            self._at_start = termios.tcgetattr(self.fileno)
        except termios.error:
            pass
        # In the loop, not wherever the signal interrupts: writing to the terminal takes a lock.
        self._handle(signal.SIGTSTP, self._stop)
        self._handle(signal.SIGCONT, self._go_on)
        self._told, tell = os.pipe()  # what must be heard even while the loop waits for a terminal that takes nothing
        os.set_blocking(tell, False)
        for number in _LEAVE:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda number, _: os.write(tell, bytes([number])))
        threading.Thread(target=self._watch, name="terminal", daemon=True).start()

    def _handle(self, number: int, do: Callable[[], None]) -> None:
        self._loop.add_signal_handler(number, do)

    def use_mouse(self, wanted: bool) -> None:
        """Takes the mouse, or leaves it to the terminal."""
        if wanted != self._mouse:
            self._disable_mouse_support()
            self._mouse = wanted
            self._enable_mouse_support()

    # --- leaving ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        """A thread that ends the process when its terminal goes (reading it would give nothing again and again, writing
        block) and when it was told to, and cannot."""
        heard = select.poll()
        heard.register(self.fileno, 0)
        heard.register(self._told, select.POLLIN)
        number, end = 0, 0.0
        while True:
            found = dict(heard.poll(max(0.0, end - time.monotonic()) * 1000 if number else None))
            terminal = found.get(self.fileno, 0)
            if terminal & (select.POLLHUP | select.POLLERR):
                os._exit(128 + (number or signal.SIGHUP))
            if terminal:  # this system does not tell of terminals so
                heard.unregister(self.fileno)
            if self._told in found and not number:
                number, end = os.read(self._told, 1)[0], time.monotonic() + GRACE
                self._loop.call_soon_threadsafe(self._leave, number)
            elif self._told in found or (number and time.monotonic() >= end):
                break
        self._restore()
        os._exit(128 + number)

    def _leave(self, number: int) -> None:
        """Ends the app as if it had been left with a key."""
        if self._suspended:  # the terminal is the shell's
            os._exit(128 + number)
        self._app.exit(return_code=128 + number)

    def _restore(self) -> None:
        """The terminal as it was, whatever state the app is in."""
        if not self._active:
            return

        def write() -> None:
            with suppress(OSError):
                os.write(self.fileno, _RESTORE)

        with suppress(termios.error):
            if self._at_start is not None:
                termios.tcsetattr(self.fileno, termios.TCSANOW, self._at_start)
        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        writing.join(1)  # it may be a terminal that takes nothing

    def start_application_mode(self) -> None:
        assert self._file is not None
        self._writer = Writer(self._file.fileno(), self.governor.link)  # Textual's lets the app wait for the terminal
        self._writer.start()
        super().start_application_mode()
        self._writer.asking = self.input_tty
        self.write("")
        self._active = True

    def stop_application_mode(self) -> None:
        super().stop_application_mode()
        self._active = False

    def disable_input(self) -> None:
        link, writer = self.governor.link, self._writer
        if writer is not None and writer.asking:
            writer.asking = False
            end = time.monotonic() + min(1.0, 4 * link.nearest + 0.2)
            while link.waiting() and time.monotonic() < end:  # or the shell would get the answer
                time.sleep(0.01)
        super().disable_input()

    def close(self) -> None:
        super().close()
        if self._writer is not None:
            self._writer.stop()

    def write(self, data: str) -> None:
        assert self._writer is not None, "nothing is written before the app begins"
        self._writer.write(data)

    # --- stopping and going on --------------------------------------------------------------------

    def suspend_application_mode(self) -> None:
        super().suspend_application_mode()
        self._suspended = True

    def resume_application_mode(self) -> None:
        super().resume_application_mode()
        self._suspended = False

    def _stop(self) -> None:
        continued: list[int] = []
        if not self._suspended:
            self.suspend_application_mode()
        self._loop.remove_signal_handler(signal.SIGTSTP)
        self._loop.remove_signal_handler(signal.SIGCONT)
        signal.signal(signal.SIGCONT, lambda number, _: continued.append(number))
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.killpg(os.getpgrp(), signal.SIGTSTP)  # the system ignores it where nobody could continue the group
        end = time.monotonic() + 0.2
        while not continued and time.monotonic() < end:
            time.sleep(0.02)  # here it stands still until the shell continues it
        self._handle(signal.SIGTSTP, self._stop)
        self._handle(signal.SIGCONT, self._go_on)
        self._go_on()
        if not continued:
            self._app.notify(f"There is no shell here that could bring it back. {key_of('quit')} quits; a training run "
                             "goes on.", timeout=6)

    def _go_on(self) -> None:
        """The process runs again: after ctrl+z, after a SIGSTOP that it could not see, or in the background."""
        if not self._auto_restart:
            return
        if not self._in_front():  # `bg`: it has nothing to do there, and the terminal is the shell's
            self._loop.call_later(0.05, self._wait_behind)  # if it was continued to be ended, that comes first
            return
        if not self._suspended:  # the shell has changed the terminal meanwhile
            self.suspend_application_mode()
        self._must_signal_resume = True
        self.resume_application_mode()

    def _wait_behind(self) -> None:
        if not self._in_front():
            os.killpg(os.getpgrp(), signal.SIGTTOU)

    def _in_front(self) -> bool:
        try:
            return os.tcgetpgrp(self.fileno) == os.getpgrp()
        except OSError:
            return True

    # --- what is typed and pasted -----------------------------------------------------------------

    def run_input_thread(self) -> None:
        """As Textual's, with pastes made harmless before they are taken apart into keys."""
        parser, pastes = XTermParser(self._debug), Pastes()
        decode = getincrementaldecoder("utf-8")(errors="replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(0.1):
                    data = os.read(self.fileno, 1 << 12)
                    if not data:  # the terminal is gone, which _watch knows
                        self.exit_event.wait(0.1)
                        continue
                    # the parser takes no text for the end
                    if text := self._without_answers(pastes.feed(decode(data))):
                        for event in parser.feed(text):
                            self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
        with suppress(EOFError, ParseError):
            for _ in parser.feed(""):
                pass

    def _without_answers(self, text: str) -> str:
        """What is left for the parser when the terminal's answers to the writer's questions are taken out."""
        count = text.count(ANSWER)
        for _ in range(count):
            self.governor.link.answer(time.monotonic())
        if count:
            app: Any = self._app
            self._loop.call_soon_threadsafe(app.answered)
        return text.replace(ANSWER, "") if count else text

    def process_message(self, message: Any) -> None:
        if isinstance(message, (events.Key, events.Paste, events.MouseEvent)):
            self.governor.pressed(time.monotonic())
        if isinstance(message, events.Paste):
            message.text = message.text.replace("\r\n", "\n").replace("\r", "\n")  # terminals send Enter for line ends
        super().process_message(message)


class Pastes:
    """Marks escape characters in what is pasted: they would be taken for keys, and text could press F9.

    What ends a paste is the terminal's word for it; that it does not let text say it is the terminal's duty.
    """

    START, END = "\x1b[200~", "\x1b[201~"

    def __init__(self) -> None:
        self._inside = False
        self._met = ""  # the beginning of START or END that was met so far

    def feed(self, text: str) -> str:
        """What the terminal sent, piece by piece; in a paste the beginning of END is kept back until it is whole."""
        if not self._inside and not self._met and "\x1b" not in text:
            return text
        made: list[str] = []
        for character in text:
            whole = self.END if self._inside else self.START
            if whole.startswith(self._met + character):
                self._met += character
                if not self._inside:
                    made.append(character)
                if self._met == whole:
                    if self._inside:
                        made.append(whole)
                    self._inside, self._met = not self._inside, ""
                continue
            if self._inside:
                made.append(self._met.replace("\x1b", "␛"))
            self._met = ""
            if character == "\x1b":
                self._met = character
            if character != "\x1b" or not self._inside:
                made.append(character)
        return "".join(made)
