"""Numbers in words, as panes show them."""

from __future__ import annotations

from babytui.curve.axis import amount, clock, limits, log_limits, log_ticks, nice_step, short, size, span, tick_values

__all__ = ["amount", "clock", "limits", "log_limits", "log_ticks", "nice_step", "short", "size", "span", "tick_values"]
