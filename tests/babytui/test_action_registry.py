"""One registry of actions, and the command line generated from it."""

from __future__ import annotations

import shlex

import pytest

from babytui import actions
from babytui.cli import parser
from engine.errors import UsageError


def test_every_action_can_be_run_and_parsed():
    names = [action.name for action in actions.ACTIONS]
    assert len(names) == len(set(names))
    for action in actions.offered(actions.CLI):
        assert callable(action.function())
        needed = [a.choices[0] if a.choices else "1" if a.kind in ("int", "float") else "x" for a in action.arguments
                  if not a.flags and a.nargs in (None, "+")]
        given = parser.parse([*action.name.split(), *needed])
        assert given.action is action and given.json is False


def test_keys_are_distinct_where_they_work():
    """A key means one thing at a place, and what works everywhere is not hidden by a pane's key."""
    taken: dict[tuple[str, str], str] = {}
    for action in actions.ACTIONS:
        for node, keys in [(action.node, action.key), *((node, keys) for node, (keys, _) in action.also.items())]:
            for key in filter(None, keys.split(",")):
                assert (node, key) not in taken, f"{key}: {action.name} and {taken[node, key]}"
                taken[node, key] = action.name
    everywhere = {key for node, key in taken if node in ("app", "playground")}
    hidden = {(node, key) for node, key in taken if key in everywhere and node not in ("app", "playground", "bakeoff")}
    own = {key for node, key in taken if node == "app"}  # of a screen that hides the panes, theirs do not work
    assert not {(node, key) for node, key in hidden if node != "microscope" or key in own}
    assert not {key for node, key in taken if node == "app"} & {key for node, key in taken if node == "playground"}


def test_what_the_app_offers_can_be_done_there_or_typed():
    for action in actions.offered(actions.APP):
        assert action.run or action.app, f"{action.name} does nothing in the app"
        assert bool(action.app) == bool(action.does) and (action.app or not action.key)
        if action.same:
            assert parser.parse(shlex.split(action.same.removesuffix("--help"))).action or action.same == "--help"


def test_common_options_before_and_after_the_verb():
    for words in (["--json", "--workspace", "w", "-q", "list"], ["list", "-q", "--json", "--workspace", "w"],
                  ["-q", "inputs", "--json", "list", "--workspace", "w"]):
        given = parser.parse(words)
        assert (given.json, given.quiet, given.workspace, given.no_color) == (True, True, "w", False)


@pytest.mark.parametrize(("name", "values"), [
    ("train", {"preset": "6m", "set": {"n_layers": 2, "c_shuffle": True}, "input": ["a b.txt"], "detach": True,
               "prompt": "--x", "steps": 7}),
    ("inference", {"guid": "abc", "prompt": "It's", "temperature": 0.5, "tokens": 500, "no_cache": True}),
    ("delete", {"guid": ["a", "b"], "yes": True}),
    ("inputs add", {"source": "-", "name": "mine"}),
])
def test_a_command_line_parses_back_to_its_values(name, values):
    line = actions.command_line(name, values, workspace="same")
    given = parser.parse(shlex.split(line)[1:])
    assert given.action.name == name and given.workspace == "same"
    for key, value in values.items():
        if isinstance(value, dict):
            assert given.set == ["n_layers=2", "c_shuffle=true"]
        else:
            assert getattr(given, key) == value


def test_defaults_are_left_out_and_unknown_values_refused():
    assert actions.command_line("inference", {"guid": "last", "tokens": 500}) == "babytui inference"
    with pytest.raises(KeyError):
        actions.command_line("list", {"speed": 3})


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("60s", 60), ("5m", 300), ("1h", 3600), ("1h30m", 5400),
                                               ("1.5m", 90)])
def test_durations(text, seconds):
    assert parser.duration(text) == seconds


@pytest.mark.parametrize(("words", "said"), [
    ("trian", "did you mean 'train'"), ("train --stpes 3", "did you mean --steps"), ("train --steps x", "whole number"),
    ("train nursery", "mean --input nursery?"), ("train n_emb=8", "mean --set n_emb=8?"),
    ("train --steps 0", "at least 1"), ("train --time soon", "60s"), ("delete", "needs GUID"), ("inputs", "COMMAND"),
    ("inputs lsit", "did you mean 'list'"), ("--jsn list", "did you mean --json"), ("inference --top-p 2", "0 to 1"),
    ("list this", "does not know 'this'"), ("inference a b", "does not know 'b'"), ("inference --seed", "argument"),
])
def test_wrong_usage_is_one_sentence(words, said):
    with pytest.raises(UsageError) as caught:
        parser.parse(words.split())
    assert said in str(caught.value) and "\n" not in str(caught.value)
