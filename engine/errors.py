"""The errors a user can cause or meet. Each message is one sentence: what is wrong, and what to do.

Every room raises these and only these for a user's mistake; the command line prints the message without a
traceback and exits with `exit_code`.
"""

from __future__ import annotations

from typing import Any


class BabyError(Exception):
    """Base of all expected errors. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(BabyError):
    """The command was called in a way that cannot be carried out."""

    exit_code = 2


class ConfigError(UsageError):
    """A parameter is unknown, out of range or contradicts another. `field` names it."""

    def __init__(self, message: str, field: str | None = None):
        super().__init__(message)
        self.field = field


class FormatError(BabyError):
    """A file is not what it should be: broken JSON, a wrong shape, a value that is not finite."""


class NotFound(BabyError):
    """A file, model, run or text that was asked for does not exist, or the name fits several."""


class TextError(BabyError):
    """A text cannot be used: empty, too short, binary, or with symbols the vocabulary lacks."""


class RunError(BabyError):
    """A training run cannot be started, reached or continued."""


def shown(value: Any) -> str:
    """A value for an error message: short, on one line, control characters escaped."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:60])
    return f"'{text}'" if isinstance(value, str) else text
