"""Settings: one file that a person writes too, the environment, the command line, and which comes before which."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import platformdirs
import pytest

from babytui import actions, settings, settings_file, workspace_choice
from babytui.cli import parser
from babytui.settings import SETTINGS, read
from engine.errors import UsageError

PERSON = """\
# mine
theme = "light"   # for the balcony
other_program = {a = 1}

# the curve
[chart]
smoothing = 0.9

[keys]
"chart.log" = "L"
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for setting in SETTINGS.values():
        monkeypatch.delenv(setting.variable, raising=False)


@pytest.fixture
def file(home: Path) -> Path:
    """Where the settings of an empty home are."""
    return settings.path()


def write(file: Path, text: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_the_file_is_where_platformdirs_says(home, monkeypatch):
    assert settings.path() == Path(platformdirs.user_config_dir("babytui")) / "settings.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "x"))
    assert settings.path() == Path(platformdirs.user_config_dir("babytui")) / "settings.toml"
    monkeypatch.setenv("BABYTUI_SETTINGS", "~/s.toml")
    assert settings.path() == home / "s.toml"


def test_every_setting_has_a_valid_default_and_a_variable_of_its_own():
    assert len({setting.variable for setting in SETTINGS.values()}) == len(SETTINGS)
    assert settings.FILE_VARIABLE not in {setting.variable for setting in SETTINGS.values()}
    for setting in SETTINGS.values():
        assert setting.coerce(setting.default) == setting.default
        assert setting.help and setting.group and setting.allowed


def test_no_file_means_defaults_and_nothing_is_written(file):
    found = settings.current()
    assert dict(found.values) == {name: setting.default for name, setting in SETTINGS.items()}
    assert found.problems == () and not file.exists()


def test_command_line_then_environment_then_file_then_default(file, monkeypatch):
    write(file, 'theme = "light"\nvim = true\n[sampler]\ntemperature = 0.5\n')
    environ = {"BABYTUI_THEME": "mono", "BABYTUI_SAMPLER_TEMPERATURE": "0.25", "BABYTUI_VIM": " "}
    found = read(file, environ, {"theme": "dark"})
    assert (found["theme"], found.origins["theme"]) == ("dark", "command line")
    assert (found["sampler.temperature"], found.origins["sampler.temperature"]) == (0.25, "environment")
    assert (found["vim"], found.origins["vim"]) == (True, "file")
    assert (found["mouse"], found.origins["mouse"]) == (True, "default")


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "keys"])
def test_every_setting_can_be_changed_and_overridden(file, monkeypatch, name):
    setting = SETTINGS[name]
    values = {"choice": setting.choices[-1:] and setting.choices[-1], "bool": not setting.default, "text": "~/nest",
              "int": 7, "float": 0.75 if (setting.low or 0) < 0.75 else 2.5}
    value = values[setting.kind]
    assert settings_file.change(name, str(value)) == value
    assert settings.get(name) == value
    table, _, key = name.partition(".")
    held = tomllib.loads(file.read_text())
    assert (held[table][key] if key else held[table]) == value
    monkeypatch.setenv(setting.variable, str(setting.default) or "~/other")
    assert settings.current().origins[name] == "environment"
    assert settings.get(name) == (setting.default or "~/other" if setting.kind == "text" else setting.default)
    monkeypatch.delenv(setting.variable)
    settings_file.reset(name)
    assert settings.get(name) == setting.default


def test_comments_order_and_unknown_keys_survive(file):
    write(file, PERSON)
    settings_file.change("theme", "dark")
    settings_file.change("mouse", "off")
    settings_file.change("sampler.top_k", "5")
    settings_file.change("keys.pause", ["P", "?"])
    text = file.read_text()
    for line in ("# mine", 'theme = "dark"   # for the balcony', "other_program = {a = 1}", "# the curve\n[chart]",
                 '"chart.log" = "L"'):
        assert line in text
    assert tomllib.loads(text) == {"theme": "dark", "other_program": {"a": 1}, "mouse": False, "chart":
                                   {"smoothing": 0.9}, "keys": {"chart.log": "L", "pause": "P,question_mark"},
                                   "sampler": {"top_k": 5}}
    for name in ("theme", "mouse", "sampler.top_k", "keys.pause"):
        settings_file.reset(name)
    assert tomllib.loads(file.read_text()) == {key: value for key, value in tomllib.loads(PERSON).items()
                                               if key != "theme"}


def test_the_file_is_private_replaced_whole_and_a_link_stays_a_link(file, home):
    settings_file.change("vim", True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    real = home / "dotfiles.toml"
    file.rename(real)
    file.symlink_to(real)
    before = real.stat().st_ino
    settings_file.change("vim", False)
    assert file.is_symlink() and real.stat().st_ino != before and "vim = false" in real.read_text()
    assert [p.name for p in file.parent.iterdir()] == ["settings.toml"]


@pytest.mark.parametrize(("text", "line", "said"), [
    ('vim = true\ntheme = "blue"\n', 2, "theme must be one of auto"),
    ('vim = true\n[sampler]\n# hot\ntemperature = "warm"\n', 4, "sampler.temperature must be a number"),
    ('vim = true\n[sampler]\ntemperature = 101\n', 3, "from 0 to 100"),
    ('vim = true\n[sampler]\ntop_k = 1.5\n', 3, "whole number"),
    ('vim = true\n[sampler]\ntemperature = true\n', 3, "sampler.temperature must be"),
    ('vim = true\nthem = "dark"\n', 2, "did you mean theme"),
    ('vim = true\n[keys]\npauze = "P"\n', 3, "did you mean keys.pause"),
    ('vim = true\n[keys]\npause = "ctrl+"\n', 3, "keys separated by commas"),
    ('vim = true\n[keys]\npause = 7\n', 3, "keys separated by commas"),
    ('vim = true\nkeys = 3\n', 2, "no setting"),
    ('vim = true\ntheme = light\n', 2, "theme' is not TOML"),
    ('vim = true\ntheme = "light\n', 2, "theme' is not TOML"),
    ('vim = true\nvim = false\n', 2, "vim' is not TOML"),
    ('vim = true\n[chart\n', 2, "[chart' is not TOML"),
])
def test_one_sentence_names_file_line_and_key_and_the_rest_applies(file, text, line, said):
    write(file, text)
    found = settings.current()
    assert found["vim"] is True
    (problem,) = found.problems
    assert f"{file} line {line}: " in problem and said in problem
    assert "\n" not in problem and problem.endswith((".", "?"))


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"x = " + b"[" * 5000, b"=\n" * 100, b"\0" * 50,
                                  b"a = 1\n" * 400_000, b'theme = "\x1b[2J"\n', b'"\\u001b]52" = 1\n'])
def test_hostile_files_are_told_and_never_stop_anything(file, data):
    write(file, data)
    found = settings.current()
    assert found["theme"] == "auto" and found.problems
    assert all(problem.isprintable() for problem in found.problems)


def test_what_is_no_file_is_told(file):
    file.mkdir(parents=True)
    assert "not a regular file" in settings.current().problems[0]
    file.rmdir()
    os.mkfifo(file)
    assert "not a regular file" in settings.current().problems[0]


def test_a_wrong_variable_is_named_and_the_file_applies(file):
    write(file, 'theme = "light"\n')
    found = read(file, {"BABYTUI_THEME": "pink", "BABYTUI_KEYS": "pause"})
    assert found["theme"] == "light" and len(found.problems) == 2
    assert found.problems[0].startswith("$BABYTUI_THEME: theme must be one of")


def test_keys_of_file_and_environment(file):
    write(file, '[keys]\npause = ["P", "ctrl+?"]\n"chart.log" = ""\n')
    found = read(file, {"BABYTUI_KEYS": "pause=f8; stop=S,+"})
    assert found.keys == {"pause": "f8", "chart.log": "", "stop": "S,plus"}
    assert read(file, {}).keys["pause"] == "P,ctrl+question_mark"


def test_a_broken_file_is_not_written_over(file):
    write(file, 'theme = "dark"\n]oops\n')
    with pytest.raises(UsageError, match=r"line 2.*--reset"):
        settings_file.change("vim", True)
    assert file.read_text() == 'theme = "dark"\n]oops\n'
    settings_file.reset()
    assert settings.current().problems == () and settings.get("theme") == "auto"
    assert file.with_name("settings.toml.old").read_text() == 'theme = "dark"\n]oops\n'


def test_resetting_everything_leaves_what_is_not_ours(file):
    write(file, PERSON)
    settings_file.reset()
    assert tomllib.loads(file.read_text()) == {"other_program": {"a": 1}}


def test_the_workspace_of_the_settings_comes_after_the_folder_one_is_in(file, home, monkeypatch):
    settings_file.change("workspace", "~/nest")
    assert workspace_choice.folder() == home / "nest"
    assert workspace_choice.folder("other") == home / "other"
    (home / "models").mkdir()
    assert workspace_choice.folder() == home
    monkeypatch.setenv("BABYTUI_WORKSPACE", str(home / "there"))
    assert workspace_choice.folder() == home / "there"


# --- the sampler's defaults ------------------------------------------------------------------------


def test_the_samplers_defaults_are_those_of_the_command_line(file):
    assert parser.parse(["inference"]).temperature == 0.8
    settings_file.change("sampler.temperature", 0.5)
    settings_file.change("sampler.tokens", 20)
    given = parser.parse(["inference"])
    assert (given.temperature, given.tokens, given.top_k) == (0.5, 20, 0)
    assert parser.parse(["inference", "--temperature", "0.8"]).temperature == 0.8
    one = parser.parse_one(actions.find("inference"), ["--top-k", "3"], "/inference")
    assert (one.temperature, one.top_k) == (0.5, 3)


def test_a_copied_command_says_what_the_settings_would_change(file):
    values = {"temperature": 0.8, "top_k": 0}
    assert actions.command_line("inference", values) == "babytui inference"
    settings_file.change("sampler.temperature", 0.5)
    assert actions.command_line("inference", values) == "babytui inference --temperature 0.8"
    assert actions.command_line("inference", {"temperature": 0.5}) == "babytui inference --temperature 0.5"


# --- the verb ---------------------------------------------------------------------------------------


def test_the_verb_shows_changes_and_resets(command, file):
    assert command("settings", "theme").out == "auto\n"
    done = command("settings", "theme", "light")
    assert done.code == 0 and str(file) in done.err and tomllib.loads(file.read_text()) == {"theme": "light"}
    assert command("settings", "theme").out == "light\n"
    assert command("settings", "keys.pause").out == "p\n"
    command("settings", "keys.pause", "P,f8")
    rows = command("settings").out.splitlines()
    assert any(row.split()[:3] == ["theme", "light", "file"] for row in rows)
    assert any(row.split()[:2] == ["keys.pause", "P,f8"] for row in rows)
    data = {entry["name"]: entry for entry in command("settings", "--json").data}
    assert set(data) == set(SETTINGS) and data["theme"]["origin"] == "file"
    assert command("settings", "theme", "--json").data["value"] == "light"
    assert command("settings", "keys.pause", "--json").data["value"] == "P,f8"
    assert command("settings", "theme", "--reset").code == 0 and settings.get("theme") == "auto"
    assert command("settings", "--reset").code == 0 and settings.current().keys == {}
    assert command("settings", "--path").out == f"{file}\n"


@pytest.mark.parametrize(("words", "said"), [
    (["them"], "did you mean theme"), (["theme", "blue"], "one of auto"),
    (["keys.pauze", "P"], "did you mean keys.pause"),
    (["theme", "dark", "--reset"], "leave 'dark' out"), (["theme", "--path"], "alone"),
    (["sampler.temperature", "nan"], "a number from 0 to 100"),
])
def test_wrong_words_are_one_sentence_and_change_nothing(command, file, words, said):
    done = command("settings", *words)
    assert done.code == 2 and said in done.err and len(done.err.splitlines()) == 1 and not file.exists()


def test_a_variable_that_hides_a_change_is_named(command, file, monkeypatch):
    monkeypatch.setenv("BABYTUI_THEME", "mono")
    assert "$BABYTUI_THEME is set and comes before the file" in command("settings", "theme", "dark").err


def test_a_broken_file_is_told_by_every_verb_and_stops_none(command, file):
    write(file, "vim = maybe\n")
    done = command("list", "--json")
    assert done.code == 0 and json.loads(done.out) == [] and f"{file} line 1" in done.err
    assert "line 1" not in command("list", "-q").err


def test_reading_settings_imports_nothing_heavy(home):
    code = ("import sys\nfrom babytui import settings\nsettings.current()\n"
            "print([n for n in ('numpy', 'textual', 'rich', 'tomlkit', 'platformdirs') if n in sys.modules])")
    env = {"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr
