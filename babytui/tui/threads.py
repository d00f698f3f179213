"""Work off the event loop. A mistake is posted as its sentence; a bug is posted too and does not end the app."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from textual import log
from textual.widget import Widget

from babytui.tui.messages import Failed
from engine.errors import BabyError


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
                                       "training is not affected."))

    widget.run_worker(guarded, thread=True, group=group, exclusive=exclusive)
