"""Tests on a real GPU; skipped, with the reason, where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine import backend
from engine.errors import ConfigError


@pytest.fixture(scope="session")
def missing() -> str:
    """Why there is no GPU, or ""."""
    try:
        backend.use("gpu")
    except ConfigError as error:
        return str(error)
    finally:
        backend.use("cpu")
    return ""


@pytest.fixture
def gpu(missing: str) -> Iterator[None]:
    """A GPU that answers; afterwards this process computes on the CPU again."""
    if missing:
        pytest.skip(missing)
    backend.use("gpu")
    try:
        yield
    finally:
        backend.use("cpu")
