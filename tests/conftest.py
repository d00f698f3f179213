"""What every room's tests share: a workspace, a short text, and one BLAS thread so that runs do not fight."""

from __future__ import annotations

import gc
import os
import signal

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background; every child would be deaf to Ctrl+C
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.update(BABYTUI_SETTINGS="/nonexistent/settings.toml", BABYTUI_TOUR="false", BABYTUI_THEME="dark")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

from engine.errors import ConfigError  # noqa: E402


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: many tests wait for processes and terminals."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1


def pytest_collection_finish(session: pytest.Session) -> None:
    """The garbage collector passes over the thousands of tests found; otherwise a tenth of the time is its own."""
    gc.collect()
    gc.freeze()


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
    for name in ("BABYTUI_WORKSPACE", "BABYTUI_SETTINGS", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder
