"""Numbers as people read them."""

from __future__ import annotations


def amount(value: float) -> str:
    """12,345 up to a million, then 1.23M, 3.4G."""
    if value < 1e6:
        return f"{value:,.0f}"
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)
