"""The command line as a process: what a start imports, and how it ends in a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from babytui import runs

ROOT = Path(__file__).parents[2]
SCREENS = ("textual", "rich", "prompt_toolkit", "asyncio")
ARRAYS = ("numpy", "cupy", "safetensors", "engine.model", "engine.trainer", "babytui.library")
HEAVY = ("numpy", "textual", "rich", "cupy", "safetensors", "importlib.metadata")
OTHER = "00000000-0000-4000-8000-000000000000"


def python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, text=True, capture_output=True, timeout=120,
                          env=_env(cwd))


def done_with(words: list[str], modules: object, cwd: Path):
    """The command in a process that must find none of the modules loaded at its end."""
    done = python("import sys\n"
                  "from babytui.__main__ import main\n"
                  f"code = main({words!r})\n"
                  f"print('heavy:', [name for name in {modules!r} if name in sys.modules], file=sys.stderr)\n"
                  "sys.exit(code)", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("heavy: []\n")


def _env(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["list"], ["runs"],
                                   ["inputs", "list"], ["bakeoff", "list"], ["bakeoff", "--help"], ["trash"],
                                   ["trash", "empty", "--yes"],
                                   ["bench", "--help"]])
def test_light_verbs_import_no_arrays_and_no_screens(tmp_path, words):
    done_with(words, HEAVY, tmp_path)


def test_info_and_delete_import_no_arrays(tmp_path, trained):
    workspace, run = trained
    done = python("import sys\n"
                  "from babytui.__main__ import main\n"
                  f"code = main(['info', 'tiny', '--json', '--workspace', {str(workspace.root)!r}])\n"
                  f"main(['curve', 'tiny', '-q', '--height', '3', '--workspace', {str(workspace.root)!r}])\n"
                  f"main(['delete', 'tiny', '--workspace', {str(workspace.root)!r}])\n"
                  f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
                  "sys.exit(code)", cwd=tmp_path)
    assert done.returncode == 0 and run.guid in done.stdout and done.stderr.endswith("heavy: []\n")


@pytest.mark.parametrize("words", [
    ["inference", "tiny", "--prompt", "The", "--tokens", "3", "--no-save"], ["estimate", "--input", "nursery"],
    ["train", "--input", "nursery", "--steps", "1", "--detach", "--preset", "newborn"]])
def test_verbs_with_arrays_import_no_screens(tmp_path, nest, words):
    workspace, _ = nest
    done_with([*words, "--workspace", str(workspace.root)], SCREENS, tmp_path)
    for run in runs.all_runs(workspace):
        run.wait(60)


def test_the_training_process_imports_no_screens(tmp_path, nest):
    workspace, guid = nest
    plan = {**runs.Run(workspace, guid).plan, "name": "again"}
    (workspace.runs / OTHER).mkdir()
    (workspace.runs / OTHER / "plan.json").write_text(json.dumps({**plan, "guid": OTHER}))
    done = python("import sys\n"
                  "from babytui.__main__ import main\n"
                  f"code = main(['worker', {OTHER!r}, '--workspace', {str(workspace.root)!r}])\n"
                  f"print('heavy:', [name for name in {SCREENS!r} if name in sys.modules], file=sys.stderr)\n"
                  "sys.exit(code)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("heavy: []\n")


def test_the_app_needs_no_arrays_for_its_first_paint(tmp_path):
    done = python("import sys\n"
                  "import babytui.tui.app\n"
                  f"print([name for name in {ARRAYS!r} if name in sys.modules])", cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr


def test_importing_the_library_is_light(tmp_path):
    done = python(f"import babytui, sys; print([n for n in {HEAVY!r} if n in sys.modules], babytui.__version__)",
                  cwd=tmp_path)
    assert done.stdout.startswith("[] ")


def test_help_needs_not_even_the_engine(tmp_path):
    done = python("import sys\n"
                  "from babytui.__main__ import main\n"
                  "main(['--help'])\n"
                  "names = ('orjson', 'json', 'engine.config', 'store', 'inputs')\n"
                  "print([n for n in names if n in sys.modules], file=sys.stderr)", cwd=tmp_path)
    assert done.stderr == "[]\n" and "inference" in done.stdout


def test_a_closed_pipe_is_quiet(tmp_path):
    process = subprocess.Popen([sys.executable, "-P", "-m", "babytui", "inputs", "list"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, cwd=tmp_path, env=_env(tmp_path))
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(60) == 0
    process.stderr.close()


def test_the_contract_about_textual_names_every_module_outside_the_app():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (named,) = (set(one["source_modules"]) for one in contracts if one["name"].startswith("Only the app"))
    there = {f"babytui.{path.stem}" for path in (ROOT / "babytui").glob("*.py") if not path.stem.startswith("__")}
    there |= {f"babytui.{path.parent.name}" for path in (ROOT / "babytui").glob("*/__init__.py")}
    assert there - named == {"babytui.tui"}
