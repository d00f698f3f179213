"""What every room's tests share: a workspace, a short text, and one BLAS thread so that runs do not fight."""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

from engine.errors import ConfigError  # noqa: E402

TEXT = "The cat sat on the mat. The dog saw the cat and ran.\n" * 40


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A text of 2,120 characters."""
    path = tmp_path / "cats.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU answers, whatever the machine has."""
    def use(device: str, *_: object) -> None:
        if device == "gpu":
            raise ConfigError("there is none", "c_device")

    monkeypatch.setattr("engine.backend.use", use)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as HOME and as the current one, so that no test meets the user's own workspace."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("BABYTUI_WORKSPACE", raising=False)
    monkeypatch.chdir(folder)
    return folder
