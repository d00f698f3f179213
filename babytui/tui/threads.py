"""Work off the event loop. A mistake is posted as its sentence; a bug is posted too and does not end the app."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable
from typing import Any

from textual import log
from textual.message import Message
from textual.message_pump import MessagePump
from textual.widget import Widget

from babytui.tui.bindings import key_of
from babytui.tui.messages import Failed
from engine.errors import BabyError

_MOMENT = 0.5  # seconds after which a refresh is not waited for any more


def in_thread(widget: Widget, work: Callable[[], Any], group: str, *, exclusive: bool = False) -> None:
    """Runs `work` in a thread that belongs to `widget`; it talks back through `post_message` only."""

    def guarded() -> None:
        try:
            work()
        except BabyError as error:
            widget.post_message(Failed(str(error)))
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            widget.post_message(Failed(f"{error.strerror or error}{where}."))
        except Exception as error:
            log.error(traceback.format_exc())
            widget.post_message(Failed(f"Something that should not happen did ({type(error).__name__}: {error}); "
                                       f"training is not affected. {key_of('doctor')} looks what is wrong."))

    widget.run_worker(guarded, thread=True, group=group, exclusive=exclusive)


def after(widget: MessagePump, seconds: float, callback: Callable[[], Any]) -> asyncio.TimerHandle:
    """Has the widget call this in so many seconds, unless the handle is cancelled.

    Textual's own `set_timer` never fires where the process stands still for so long just as the timer begins.
    """
    return asyncio.get_running_loop().call_later(seconds, widget.call_later, callback)


def after_refresh(pump: MessagePump, callback: Callable[[], Any]) -> None:
    """Calls this once when what was changed has been painted, or after a moment.

    Textual's own `call_after_refresh` hands it to the screen in front, which loses it when it is closed before.
    """
    waiting = [callback]

    def once() -> None:
        timer.cancel()
        while waiting:
            waiting.pop()()

    timer = after(pump, _MOMENT, once)
    pump.call_after_refresh(once)


class Inquiry:
    """A question that is asked again when something has changed. An answer to another than the last, told by its
    `serial`, is wanted no more."""

    def __init__(self, widget: Widget, ask: Callable[[], object]):
        self._widget, self._ask = widget, ask
        self._timer: asyncio.TimerHandle | None = None
        self.serial = 0

    def drop(self) -> None:
        """No answer is wanted any more."""
        self.serial += 1
        if self._timer is not None:
            self._timer.cancel()

    def again(self, delay: float = 0.0) -> None:
        """Asks after `delay` seconds without another change; what was asked before is dropped."""
        self.drop()
        if delay:
            self._timer = after(self._widget, delay, self._ask)
        else:
            self._ask()


class Reporter:
    """Tells a widget from a thread: nothing before it has dealt with the last message and said so with `taken`."""

    def __init__(self, post: Callable[[Message], object]):
        self._post = post
        self._stopped, self._wanted = threading.Event(), threading.Event()
        self._wanted.set()

    def stop(self) -> None:
        """Ends the thread soon; may be called from any thread."""
        self._stopped.set()
        self._wanted.set()

    def taken(self) -> None:
        """The last message was dealt with; the next may come."""
        self._wanted.set()

    def tell(self, message: Message) -> bool:
        """Posts it once the last was taken; False when it was stopped instead. Called in the thread."""
        self._wanted.wait()
        if self._stopped.is_set():
            return False
        self._wanted.clear()
        self._post(message)
        return True
