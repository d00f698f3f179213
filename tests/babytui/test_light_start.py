"""The command line as a process: what a start imports, and how it ends in a pipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "textual", "rich", "cupy", "safetensors", "importlib.metadata")


def python(code: str, *, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"], cwd=cwd, text=True,
                          capture_output=True, timeout=60, env={"HOME": str(cwd), "PATH": "/usr/bin:/bin"}, **options)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["list"], ["runs"], ["inputs", "list"]])
def test_light_verbs_import_no_arrays_and_no_screens(tmp_path, words):
    done = python("from babytui.__main__ import main\n"
                  f"code = main({words!r})\n"
                  f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
                  "sys.exit(code)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("heavy: []\n")


def test_info_and_delete_import_no_arrays(tmp_path, trained):
    workspace, run = trained
    done = python("from babytui.__main__ import main\n"
                  f"code = main(['info', 'tiny', '--json', '--workspace', {str(workspace.root)!r}])\n"
                  f"main(['delete', 'tiny', '--workspace', {str(workspace.root)!r}])\n"
                  f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
                  "sys.exit(code)", cwd=tmp_path)
    assert done.returncode == 0 and run.guid in done.stdout and done.stderr.endswith("heavy: []\n")


def test_importing_the_library_is_light(tmp_path):
    done = python(f"import babytui; print([n for n in {HEAVY!r} if n in sys.modules], babytui.__version__)", cwd=tmp_path)
    assert done.stdout.startswith("[] ")


def test_help_needs_not_even_the_engine(tmp_path):
    done = python("from babytui.__main__ import main; main(['--help'])\n"
                  "print([n for n in ('orjson', 'engine.config', 'store', 'inputs') if n in sys.modules], file=sys.stderr)",
                  cwd=tmp_path)
    assert done.stderr == "[]\n" and "inference" in done.stdout


def test_a_closed_pipe_is_quiet(tmp_path):
    process = subprocess.Popen([sys.executable, "-P", "-m", "babytui", "inputs", "list"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, cwd=tmp_path, env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)})
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(30) == 0
    process.stderr.close()
