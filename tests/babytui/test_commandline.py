"""Command lines of the shell and the app: split, matched, completed, checked and run, over the whole registry."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
import time

import pytest

from babytui import actions, commandline, texts
from babytui.actions import APP, CLI, SHELL
from babytui.capture import ERR, OUT, caught
from babytui.cli import asking
from babytui.cli.completion import for_bash
from babytui.commandline import COMMON, match, parse, problem, run, split, words
from babytui.completion import FREE, KINDS, SAMPLER, Completer, place, quoted, unquoted
from engine.config import PARAMETERS, PRESETS
from engine.errors import UsageError
from store.workspace import Workspace

FACES = (SHELL, APP)
EVERY = [pytest.param(face, action, id=f"{face} {action.name}") for face in FACES for action in actions.offered(face)]
# a value that the parser takes, for every kind that is checked there
GOOD = {"int": "3", "float": "1", "duration": "60s"}


def good(argument: actions.Argument) -> str:
    if argument.kind in ("int", "float") and argument.low is not None:
        return str(int(argument.low) if argument.kind == "int" else argument.low)
    return argument.choices[0] if argument.choices else GOOD.get(argument.kind, "x")


# --- words --------------------------------------------------------------------------------------------------------


def test_words_are_split_as_a_shell_splits_them():
    """The reference is shlex."""
    draw = random.Random(1)
    whole = 0
    for _ in range(20_000):
        line = "".join(draw.choices("ab '\"\\=-é\n\t", k=draw.randint(0, 12)))
        try:
            want = shlex.split(line)
        except ValueError:
            with pytest.raises(UsageError):
                split(line)
            continue
        whole += 1
        assert split(line) == want, line
        for word in words(line):
            assert 0 <= word.start <= word.end <= len(line)
            if word.start < len(line):
                assert shlex.split(line[word.start:word.end]) == [word.text]
    assert whole > 5000


@pytest.mark.parametrize(("line", "said"), [("train --name 'a b", "is not closed"), ("list \\", "backslash")])
def test_an_unfinished_line_is_refused(line, said):
    with pytest.raises(UsageError, match=said):
        split(line)


@pytest.mark.parametrize("text", ["a", "two words", "it's", '"', "~/x", "a\\b", "'", "ü#$`!", "--x", "(a|b)"])
def test_what_is_quoted_reads_back(text):
    assert split(quoted(text)) == [text] == shlex.split(quoted(text))


# --- the registry -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("face", "action"), EVERY)
def test_every_action_parses_with_every_argument(face, action):
    positional = [good(a) for a in action.arguments if not a.flags]
    for argument in (*action.arguments, *COMMON):
        if argument.flags and argument.name != "help":
            for flag in argument.flags:
                given = [flag] if argument.kind == "flag" else [flag, good(argument)]
                parsed = parse([*action.name.split(), *positional, *given], face, "/w")
                assert parsed.action is action and getattr(parsed, argument.name) is not None
    parsed = parse([*action.name.split(), *positional], face, "/w")
    assert parsed.action is action and parsed.workspace == "/w" and not parsed.json


@pytest.mark.parametrize(("face", "action"), EVERY)
def test_every_action_is_completed_to_its_end(face, action, tmp_path):
    """From an empty line, by what is offered alone: the command, every option, and a value where there is a list."""
    complete = Completer(Workspace(tmp_path), face).complete
    line = ""
    for word in action.name.split():
        assert word in [one.text for one in complete(line)], line
        assert [one for one in complete(line + word) if one.text == word and one.start == len(line)]
        line += word + " "
    needed = sum(a.nargs is None for a in action.arguments if not a.flags)
    ready = line + "x " * needed
    offered = {one.text for one in complete(ready + "-")}
    for argument in (*action.arguments, *COMMON):
        if not argument.flags:
            continue
        long = argument.flags[-1]
        assert long in offered
        assert complete(ready + long)[0].text.startswith(long)
        if argument.kind == "flag":
            again = {one.text for one in complete(f"{ready}{long} -")}
            assert (long in again) is argument.repeat
            continue
        here = place(f"{ready}{long} ", len(ready + long) + 1, face)
        assert here.argument is argument
        assert place(f"{ready}{long}=", len(ready + long) + 1, face).argument is argument
        for value in complete(f"{ready}{long} "):
            assert value.start <= len(ready + long) + 1
        assert Completer(Workspace(tmp_path), face).hint(f"{ready}{long} ").startswith(f"{long}: ")


def test_every_kind_of_argument_is_known():
    for action in actions.ACTIONS:
        for argument in action.arguments:
            assert argument.kind in KINDS, f"{action.name} {argument.name}: completion does not know {argument.kind}"


def test_every_command_has_a_face_that_can_run_it():
    for action in actions.offered(SHELL):
        assert action.run and callable(action.function()), action.name
    shell = {action.name for action in actions.offered(SHELL)}
    assert {action.name for action in actions.offered(CLI)} - shell <= {"repl", "serve", "completion"}


# --- matching -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "name", "rest"), [
    ("list", "list", []), ("inputs list --json", "inputs list", ["--json"]), ("stop abc", "stop", ["abc"]),
    ("trash", "trash", []), ("trash --json", "trash", ["--json"]), ("babytui list", "list", []),
    ("exit", "quit", []), ("chat x", "model", ["x"]), ("trash restore x", "trash restore", ["x"]),
    ("? train", "help", ["train"]),
])
def test_a_line_names_an_action(line, name, rest):
    action, words_ = match(split(line), SHELL)
    assert (action.name, words_) == (name, rest)


@pytest.mark.parametrize(("line", "said"), [
    ("trian", "did you mean /train?"), ("inputs", "one more word: list, add, fetch"),
    ("inputs lsit", "did you mean /inputs list?"), ("trash rstore x", "did you mean /trash restore?"),
    ("zzz", "/help lists all"), ("", "There is no command"), ("train --stpes 3", "/train does not know"),
    ("train --steps x", "whole number"), ("delete", "/delete needs GUID; see /help delete."),
    ("list this", "/list does not know 'this'"),
    ("train --set n_emb=many", "n_emb"), ("train --set n_embb=3", "n_emb"), ("train --set n_emb", "PARAMETER=VALUE"),
    ("info a b", "does not know 'b'"), ("info 'a", "not closed"), ("set temperature 1 2", "does not know"),
])
def test_what_is_wrong_is_said_in_a_sentence(line, said):
    sentence = problem(line, SHELL)
    assert said in sentence and "\n" not in sentence and sentence.endswith((".", "?"))


@pytest.mark.parametrize("line", ["list", "train --preset 3m --set n_emb=64", "info", "train --help",
                                  "trash restore x"])
def test_what_is_right_is_not_complained_about(line):
    assert problem(line, SHELL) == "" == problem(line, APP)


# --- completion ---------------------------------------------------------------------------------------------------


def texts_of(found):
    return [one.text for one in found]


def test_values_come_from_their_registries(tmp_path):
    complete = Completer(Workspace(tmp_path), SHELL).complete
    assert texts_of(complete("train --preset ")) == list(PRESETS)
    assert texts_of(complete("train --set ")) == [name + "=" for name in PARAMETERS]
    assert texts_of(complete("train --set emb")) == [name + "=" for name in PARAMETERS if "emb" in name]
    for name, parameter in PARAMETERS.items():
        for one in complete(f"train --set {name}="):
            parameter.coerce(one.text)
            assert one.start == len(f"train --set {name}=")
        if parameter.kind == "choice":
            assert set(texts_of(complete(f"train --set {name}="))) == set(parameter.choices)
    assert texts_of(complete("bakeoff --attention mha,gl")) == ["gla"]
    assert complete("bakeoff --attention mha,gl")[0].start == len("bakeoff --attention mha,")
    assert set(texts_of(complete("bakeoff --sequence "))) == {"pre", "post", "both"}
    assert texts_of(complete("train --input ")) == [
        text.name for text in texts.available(Workspace(tmp_path)) if text.kind == "shipped"]
    web = [text.name for text in texts.available(Workspace(tmp_path)) if text.kind == "web"]
    assert [name for name in texts_of(complete("inputs fetch ")) if not name.startswith("-")] == web != []
    assert texts_of(complete("set tem")) == ["temperature"] and texts_of(complete("set temperature "))[0] == "default"
    assert set(SAMPLER) >= {"temperature", "top_k", "top_p", "min_p", "repetition", "seed", "tokens"}
    assert "restore" in texts_of(complete("help trash "))


def test_models_runs_and_the_trash(nest):
    workspace, guid = nest
    complete = Completer(workspace, SHELL).complete
    assert texts_of(complete("info "))[:4] == ["tiny", "last", "baby", guid[:8]] or texts_of(
        complete("info "))[:2] == ["tiny", guid[:8]]
    assert texts_of(complete("info ti")) == ["tiny"] and "mha+mlp" in complete("info ti")[0].meta
    assert texts_of(complete(f"info {guid[:5]}")) == [guid[:8]]
    assert texts_of(complete("attach ti")) == ["tiny"] and "finished" in complete("attach ti")[0].meta
    assert texts_of(complete("delete tiny ti")) == ["tiny"], "several may be given"
    assert texts_of(complete("train --input ca")) == []
    (workspace.inputs / "my cats.txt").write_text("meow " * 100)
    fresh = Completer(workspace, SHELL)
    assert texts_of(fresh.complete("train --input my")) == ["'my cats'"]
    assert texts_of(fresh.complete("train --input 'my c")) == ["'my cats'"]
    workspace.delete(guid)
    fresh = Completer(workspace, SHELL)
    assert texts_of(fresh.complete("trash restore ti")) == ["tiny"] and texts_of(fresh.complete("info ti")) == []


def test_what_was_found_is_remembered_for_a_moment(nest, monkeypatch):
    workspace, guid = nest
    completer = Completer(workspace, SHELL)
    completer.complete("info ")
    workspace.delete(guid)
    assert texts_of(completer.complete("info ti")) == ["tiny"]
    later = time.monotonic() + 10
    monkeypatch.setattr("babytui.completion.time.monotonic", lambda: later)
    assert texts_of(completer.complete("info ti")) == []


def test_files(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "a b.json").write_text("{}")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "evil\x1b[31m.json").write_text("")
    (tmp_path / "z.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    complete = Completer(Workspace(tmp_path / "w"), SHELL).complete
    assert texts_of(complete("train --config ")) == ["configs/", "z.json"]
    assert texts_of(complete("train --config configs/")) == ["'configs/a b.json'"]
    assert texts_of(complete("train --config=~/con")) == ["~/configs/"]
    assert texts_of(complete("train --config .h")) == [".hidden"]
    assert texts_of(complete("train --input ./z")) == ["./z.json"]
    assert complete("train --config nowhere/") == []


def test_only_what_stands_before_the_cursor_counts(tmp_path):
    complete = Completer(Workspace(tmp_path), SHELL).complete
    line = "tra --steps 3"
    assert texts_of(complete(line, 3)) == ["train", "trash"] and {one.start for one in complete(line, 3)} == {0}


def test_any_line_can_be_completed_and_hinted(tmp_path):
    """Nothing that is typed halfway is an error; what is offered can be put in its place."""
    completer = Completer(Workspace(tmp_path), SHELL)
    draw = random.Random(2)
    pieces = ["train", "bench", "bakeoff", "trash", "help", "set", "--set", "--work", "--", "-", "--set=", "n_emb=",
              " ", " ", " ", "'", '"', "\\", "x", "=", "a,b", "--csv", "é", "\x1b", "\n"]
    for _ in range(4000):
        line = "".join(draw.choices(pieces, k=draw.randint(0, 7)))
        cursor = draw.randint(0, len(line))
        for one in completer.complete(line, cursor):
            assert 0 <= one.start <= cursor
            assert one.display.isprintable() and one.meta.isprintable() and one.text.isprintable()
        assert isinstance(completer.hint(line, cursor), str)
        assert isinstance(problem(line, SHELL), str)


def test_names_of_strangers_are_shown_as_marks(tmp_path):
    import hostile

    workspace = hostile.workspace(tmp_path)
    completer = Completer(workspace, SHELL)
    for line in ("info ", "attach ", "bakeoff show ", "train --input ", "trash restore ", "train --config "):
        for one in completer.complete(line):
            assert one.text.isprintable() and one.display.isprintable() and one.meta.isprintable(), one
    assert hostile.RUN[:8] in texts_of(completer.complete("attach "))[0] or texts_of(completer.complete("attach "))


# --- running ------------------------------------------------------------------------------------------------------


def test_a_line_does_what_the_command_line_does(nest, command):
    """The same action typed into a face and given to `babytui`: the same data and the same narration."""
    workspace, guid = nest
    for line in ("list --json", "info tiny --json", "info tiny", "runs", "runs --json", "trash --json",
                 "estimate --preset 3m --json", "inputs list",
                 "inference tiny --prompt 'The c' --tokens 40 --seed 3 --no-save"):
        want = command(*split(line), "--workspace", workspace.root)
        for face in FACES:
            with caught() as said:
                code = run(line, face, workspace.root)
            assert code == want.code == 0, line
            if "inference" in line or "estimate" in line:  # these tell how long they took
                continue
            assert said.text(OUT) == want.out, line
            assert said.text(ERR) == want.err, line
    with caught() as said:
        run("inference tiny --prompt 'The c' --tokens 40 --seed 3 --json --no-save", SHELL, workspace.root)
    written = json.loads(said.text(OUT))
    want = command("inference", guid, "--prompt", "The c", "--tokens", 40, "--seed", 3, "--json", "--no-save",
                   "--workspace", workspace.root).data
    assert {key: written[key] for key in ("guid", "generation", "tokens", "seed")} == {
        key: want[key] for key in ("guid", "generation", "tokens", "seed")}


@pytest.mark.parametrize(("line", "code", "said"), [
    ("lsit", 2, "did you mean /list?"), ("info nobody", 1, "no model"), ("train --steps 0", 2, "at least 1"),
    ("train --set n_emb=0 --steps 1", 2, "n_emb"), ("list --help", 0, "usage: /list"), ("stop", 1, "no runs"),
])
def test_exit_codes_and_sentences(tmp_path, line, code, said):
    with caught() as output:
        assert run(line, SHELL, tmp_path / "w") == code
    assert said in output.text() and "Traceback" not in output.text()


def test_another_workspace_may_be_named(trained, tmp_path):
    workspace, run_ = trained
    with caught() as said:
        assert run(f"list --json --workspace {quoted(str(workspace.root))}", SHELL, tmp_path) == 0
    assert json.loads(said.text(OUT))[0]["guid"] == run_.guid


def test_prepare_may_change_or_refuse(nest):
    workspace, _ = nest

    def as_data(arguments):
        arguments.json = True

    def refuse(arguments):
        raise UsageError("Not here.")

    with caught() as said:
        assert run("list", APP, workspace.root, prepare=as_data) == 0
    assert json.loads(said.text(OUT))[0]["name"] == "tiny"
    with caught() as said:
        assert run("list", APP, workspace.root, prepare=refuse) == 2
    assert "Not here." in said.text(ERR)


def test_questions_are_answered_by_the_face(nest):
    workspace, guid = nest
    asked = []

    def answer(question, reply):
        asked.append(question)
        return reply

    with caught() as said, asking.answered_by(lambda question: answer(question, False)):
        assert run("delete tiny", APP, workspace.root) == 0
    assert asked and "Nothing was deleted" in said.text(ERR) and workspace.entry(guid).has_model
    with caught(), asking.answered_by(lambda question: answer(question, True)):
        assert run("delete tiny", APP, workspace.root) == 0
    assert workspace.entries() == []
    with caught() as said:
        assert run("trash empty", APP, workspace.root) == 2
    assert "--yes" in said.text(ERR)


def test_a_caught_command_has_no_input_and_can_be_cancelled(nest):
    workspace, _ = nest
    with caught() as said:
        assert run("inference tiny --prompt -", APP, workspace.root) == 2
    assert "no standard input" in said.text(ERR)
    with caught() as said:
        said.cancel()
        assert run("inference tiny --tokens 100000 --no-save", APP, workspace.root) == 130


def test_other_threads_are_not_caught(capsys):
    import threading

    with caught() as said:
        print("mine")
        thread = threading.Thread(target=print, args=("theirs",))
        thread.start()
        thread.join()
    assert said.text() == "mine\n" and capsys.readouterr().out == "theirs\n"


def test_it_starts_light():
    """Neither arrays nor a user interface for splitting, completing and checking."""
    code = ("import sys\nfrom babytui import commandline, completion\nfrom store.workspace import Workspace\n"
            "c = completion.Completer(Workspace('/nowhere'), 'shell')\n"
            "assert c.complete('train --set c_att') and commandline.problem('train --steps x', 'shell')\n"
            "assert c.complete('bakeoff --attention ')\n"
            "assert not {'numpy', 'textual', 'prompt_toolkit', 'rich'} & set(sys.modules), sorted(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_free_kinds_show_their_default(tmp_path):
    assert set(FREE) < set(KINDS) and commandline.SIGN == {CLI: "", SHELL: "/", APP: ""}
    found = Completer(Workspace(tmp_path), SHELL).complete("inference --temperature ")
    assert [(one.text, one.meta) for one in found] == [("0.8", "default")]


# --- before the verb, in a person's own shell -------------------------------------------------------------------


def test_options_before_the_verb(tmp_path):
    """--workspace takes a folder, the verb comes after the options."""
    completer = Completer(Workspace(tmp_path), CLI)
    names = [action.name for action in actions.offered(CLI)]
    assert [one.text for one in completer.complete("--no-co")] == ["--no-color"]
    assert {one.text for one in completer.complete("--")} == {
        "--workspace", "--json", "--quiet", "--no-color", "--help", "--version", "--no-mouse"}
    for before in ("", "--json ", "-q --workspace x ", "--workspace=x --no-color "):
        assert [one.text for one in completer.complete(before + "est")] == ["estimate"]
        assert {one.text for one in completer.complete(before)} == {name.split()[0] for name in names}
        assert [one.text for one in completer.complete(before + "train --preset 12")] == ["12m"]
    (tmp_path / "folder of models").mkdir()
    for glue in " =":
        one, = completer.complete(f"--workspace{glue}{tmp_path}/fol")
        assert one.text == f"'{tmp_path}/folder of models/'"


@pytest.mark.parametrize(("line", "made"), [
    ("train --set 'c_attention=gl", "train --set c_attention=gla"),
    ("train --set c_attention='gl", "train --set c_attention=gla"),
    ('train "--preset=12', "train --preset=12m"),
    ("bakeoff --attention 'mha,gl", "bakeoff --attention mha,gla"),
])
def test_a_quoted_word_is_replaced_as_a_whole(tmp_path, line, made):
    one, = Completer(Workspace(tmp_path), CLI).complete(line)
    assert line[: one.start] + one.text == made


@pytest.mark.parametrize("kept", ["", "a", "x=", "x:y@", "'", '"', "'a b", '"a b', "a'b c'", 'a"b', "a\\ ", "--name="])
@pytest.mark.parametrize("value", ["plain", "two words", "it's", 'say "so"', "$(touch ran)", "`x`; y & z", "bang!", "~",
                                   "größe", "a\\b", "ends in '", 'ends in "', "#*?[a]{b}<>|=$HOME"])
def test_what_bash_is_given_means_the_value_to_bash(kept, value):
    """Whatever is open before it: bash reads the line that it makes as the very value."""
    begun = unquoted(kept)
    line = for_bash("info " + kept, begun + value, "")
    last = words("info " + kept)[-1]
    closing = last.quote if last.quote in ("'", '"') and not line.endswith(last.quote) else ""
    done = subprocess.run(["bash", "-c", f"printf %s {kept}{line}{closing}"], capture_output=True, text=True)
    assert done.stdout == begun + value, done.stderr
