"""The generated pages are up to date, and the commands that the documentation shows exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from babytui.cli.parser import parse

ROOT = Path(__file__).resolve().parents[1]


def _pages():
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PAGES


@pytest.mark.parametrize(("page", "text"), _pages().items())
def test_generated_pages_are_up_to_date(page, text):
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == text(), "run python docs/build.py"


def test_the_bake_off_page_can_be_made_again():
    import json

    kept = json.loads((ROOT / "docs" / "bakeoff.json").read_text(encoding="utf-8"))
    arguments = parse(shlex.split(kept["command"])[1:])
    assert arguments.action.name == "bakeoff" and kept["rows"]
    names = {(row["attention"], row["network"], row["sequence"]) for row in kept["rows"]}
    assert len(names) == len(kept["rows"])
    assert all(row["error"] or row["perplexity"] > 1 for row in kept["rows"])


def test_every_promise_names_a_test_that_exists():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| ") and not row.startswith("| promise")]
    named = [test for row in rows for test in re.findall(r"`(tests/[^`]+)`", row)]
    assert len(rows) > 50 and all("`tests/" in row for row in rows)
    for test in named:
        path, _, name = test.partition("::")
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {re.escape(name)}\(", source, re.MULTILINE), f"{test} is not there"


def _commands():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        shown = (re.findall(r"^(?: {4})?(?:mpirun -n \d )?(babytui .+)$", text, re.MULTILINE)
                 + re.findall(r"`(babytui [^`]+)`", text))
        yield from (pytest.param(command, id=f"{page.stem}: {command}") for command in shown)


@pytest.mark.parametrize("command", list(_commands()))
def test_commands_that_are_shown_can_be_called(command):
    words = shlex.split(command.removesuffix("\\"), comments=True)[1:]
    if words == ["--help"]:
        with pytest.raises(SystemExit, match="0"):
            parse(words)
    else:
        assert parse(words).action is not None


def test_library_example_of_the_readme_runs(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.+?)```", text, re.DOTALL)[1]
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()
