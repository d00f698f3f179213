"""The parameters: described once and completely, read from anything, refused in one sentence."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine import config as configs
from engine import events, registry
from engine.config import ALIASES, PARAMETERS, PRESETS, Config, age, nearest_divisor, preset
from engine.errors import BabyError, ConfigError, FormatError, UsageError

OURS = [
    "c_device", "c_device_cpu_cores", "c_device_gpu_core", "c_device_gpu_tensor", "c_tokenizer", "c_sequence",
    "c_attention", "c_network", "d_type", "n_ctx", "n_emb", "head_size", "n_heads", "n_layers", "n_epochs",
    "batch_size", "r_dropout", "r_temp", "r_learn", "s_warmup", "c_shuffle", "r_split", "n_seed", "n_steps", "s_stride",
    "r_decay", "r_beta1", "r_beta2", "c_momentum", "r_clip", "c_schedule", "r_cooldown", "c_init",
    "n_kv_heads", "n_experts", "n_rank", "n_groups", "ggl_shuffle", "s_window", "s_kernel", "c_convolution",
    "infr_cache", "c_not_finite", "s_checkpoint_seconds", "s_checkpoint_steps", "n_checkpoints"]
every_parameter = pytest.mark.parametrize("p", PARAMETERS.values(), ids=lambda p: p.name)
NUMBERS = [p for p in PARAMETERS.values() if p.kind in ("int", "float")]


def one_sentence(message: str) -> bool:
    """A short, printable line that ends like a sentence."""
    return message.isprintable() and len(message) < 300 and message[-1] in ".?" and not re.search(r"''\w", message)


def refused(name, value) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.read({name: value})
    assert caught.value.field == name
    assert one_sentence(str(caught.value)), str(caught.value)
    assert name in str(caught.value)
    return str(caught.value)


# Every parameter once -------------------------------------------------------------------------------------------------


def test_every_parameter_is_there_once():
    assert sorted(PARAMETERS) == sorted(OURS)
    names = [*PARAMETERS, *(alias for p in PARAMETERS.values() for alias in p.aliases)]
    assert len(names) == len(set(names))


@every_parameter
def test_every_parameter_is_complete(p):
    assert p.kind in ("choice", "int", "float", "bool")
    assert len(p.help) > 10 and p.help[0].isupper() and p.help.endswith(".") and "\n" not in p.help
    assert all(effect and effect.isprintable() for effect in (p.size, p.speed, p.quality))
    assert p.group in ("model", "text", "training", "machine")
    assert p.coerce(p.default) == p.default
    assert type(p.coerce(p.default)) is type(p.default)
    assert bool(p.choices) == (p.kind == "choice")
    assert (p.low is not None) == (p.kind in ("int", "float"))
    assert p.owner in (None, "attention", "network")
    assert p.allowed in refused(p.name, object())


@every_parameter
def test_every_allowed_value_is_accepted_also_as_text(p):
    values = {"choice": p.choices, "bool": (True, False), "int": (p.low, p.high), "float": (p.low, p.high)}[p.kind]
    for value in [*values, *p.words]:
        found = Config.read({p.name: value}).values[p.name]
        assert found == value and Config.read({p.name: f" {str(value).upper()} "}).values[p.name] == value
        assert type(found) is {"choice": str, "bool": bool, "int": int, "float": float}[p.kind] or found in p.words


@pytest.mark.parametrize("p", NUMBERS, ids=lambda p: p.name)
def test_numbers_out_of_range_or_no_numbers_at_all(p):
    beyond = [p.low - 1, p.high * 2 + 1, math.nan, math.inf, -math.inf, "nan", "inf", "", "twelve", None, True, False,
              [1], {}, 10**400, "9" * 5000, "x" * 5000, b"1", 1j, "\x1b[31m", "1\n2"]
    for value in [*beyond, 1.5, "1.5"] if p.kind == "int" else beyond:
        refused(p.name, value)


@pytest.mark.parametrize("p", NUMBERS, ids=lambda p: p.name)
def test_the_range_that_is_told_is_the_range_that_is(p):
    told = [float(number) for number in re.findall(r"[-+]?\d[\d.]*(?:e[-+]?\d+)?", p.allowed)]
    assert told == [float(p.low), float(p.high)]


@pytest.mark.parametrize("p", [p for p in PARAMETERS.values() if p.kind == "choice"], ids=lambda p: p.name)
def test_wrong_choices_suggest_the_nearest(p):
    for choice in p.choices:
        typo = choice + choice[-1]
        assert f"did you mean '{choice}'" in refused(p.name, typo)
    for nonsense in ("\x1b[31mred", "x" * 5000, "two\nlines", "", 5, None, True):
        refused(p.name, nonsense)


@given(st.data(), st.sampled_from([p for p in NUMBERS if p.kind == "int"]))
def test_every_whole_number_in_range_is_kept_exactly(data, p):
    number = data.draw(st.integers(int(p.low), int(p.high)))
    assert p.coerce(number) == p.coerce(str(number)) == number


def test_the_largest_seeds_are_seeds():
    for seed in (2**53 + 1, 2**63 - 1):
        assert Config.read({"n_seed": seed}).n_seed == Config.read({"n_seed": str(seed)}).n_seed == seed


@given(st.dictionaries(st.sampled_from([*PARAMETERS, *ALIASES, "zzz"]),
                       st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
                                 st.lists(st.integers()))))
@example({"c_attention": "\x1b[2J"})
@example({"n_ctx": 16, "s_stride": 99, "n_heads": 3})
def test_whatever_is_read_is_a_config_or_one_sentence(raw):
    try:
        config = Config.read(raw)
    except ConfigError as error:
        assert one_sentence(str(error)), str(error)
    else:
        assert all(p.coerce(config.values[p.name]) == config.values[p.name] for p in PARAMETERS.values())
        assert all(one_sentence(problem.message) for problem in config.problems())


@pytest.mark.parametrize("word", ["true", "YES", "on", "1", True, 1])
def test_truth(word):
    assert Config.read({"c_shuffle": word}).c_shuffle is True


@pytest.mark.parametrize("word", ["false", "No", "off", "0", False, 0])
def test_falsehood(word):
    assert Config.read({"infr_cache": word}).infr_cache is False


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alias", "name", "value"), [
    ("dropout", "r_dropout", 0.1), ("num_epochs", "n_epochs", 3), ("lr", "r_learn", 0.003), ("s_head", "head_size", 64),
    ("s_batch", "batch_size", 8)])
def test_aliases(alias, name, value):
    assert Config.read({alias: str(value)}).values[name] == value
    assert Config.read({alias: value, name: value}).values[name] == value
    with pytest.raises(ConfigError, match="keep one") as caught:
        Config.read({alias: value, name: PARAMETERS[name].high})
    assert caught.value.field == name and alias in str(caught.value) and name in str(caught.value)


def test_a_config_of_the_earlier_program():
    raw = {"c_sequence": "post", "c_attention": "moh", "c_network": "moe", "n_ctx": 32, "n_emb": 32, "dropout": 0.1,
           "head_size": 32, "n_heads": 4, "n_layers": 2, "num_epochs": 1, "batch_size": 8, "lr": 0.003,
           "c_device_cpu_cores": "16", "c_device_gpu_core": "0", "c_device_gpu_tensor": "1", "c_optimizer": "adamw",
           "c_device_gpu_cuda": "auto", "s_warmup": "25", "runtime": {"model_params": 5}}
    config = Config.read(raw, strict=False).validate()
    assert (config.r_dropout, config.n_epochs, config.r_learn, config.c_device_cpu_cores) == (0.1, 1, 0.003, 16)
    assert config.c_device_gpu_tensor is True and config.s_warmup == 25
    assert config.extra == {"c_optimizer": "adamw", "c_device_gpu_cuda": "auto", "runtime": {"model_params": 5}}
    assert {**config.to_dict(), **config.extra} == config.to_dict()


@pytest.mark.parametrize(("typo", "meant"), [("n_layer", "n_layers"), ("batchsize", "batch_size"),
                                             ("r_lern", "r_learn"), ("dropuot", "r_dropout|dropout")])
def test_unknown_names_suggest_the_nearest(typo, meant):
    with pytest.raises(ConfigError, match=f"did you mean '({meant})'") as caught:
        Config.read({typo: 1})
    assert caught.value.field == typo and typo in str(caught.value)


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "x" * 5000, "", "two\nlines"])
def test_strange_names_are_shown_harmlessly(name):
    with pytest.raises(ConfigError) as caught:
        Config.read({name: 1})
    message = str(caught.value)
    assert message.isprintable() and len(message) < 300
    assert Config.read({name: 1}, strict=False).extra == {name: 1}


@pytest.mark.parametrize("kind", ["attention", "network", "tokenizer"])
def test_registries(kind):
    known = getattr(registry, kind)
    assert list(known.names()) == sorted(known.names()) and known.names()
    for name in known.names():
        assert known.get(name).name == known.resolve(name) == name
        for alias in known.aliases(name):
            assert known.get(alias) is known.get(name)
            assert Config.read({f"c_{kind}": alias}).values[f"c_{kind}"] == name
    for strange in (known.names()[0] + "x", "x" * 5000, "\x1b[31m"):
        with pytest.raises(ConfigError) as caught:
            known.get(strange)
        assert one_sentence(str(caught.value)), str(caught.value)


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="n_layer"):
        _ = Config.read().n_layer
    assert not hasattr(Config.read(), "__deepcopy__")


# Rules between parameters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "field", "part"), [
    ({"head_size": 100, "n_heads": 16}, "n_heads", "20"),
    ({"head_size": 7, "n_heads": 2}, "n_heads", "1"),
    ({"n_ctx": 16, "s_stride": 17}, "s_stride", "auto")])
def test_contradictions(values, field, part):
    config = Config.read(values)
    problems = config.problems()
    assert [problem.field for problem in problems] == [field]
    assert part in problems[0].message and one_sentence(problems[0].message)
    with pytest.raises(ConfigError) as caught:
        config.validate()
    assert caught.value.field == field and str(caught.value) == problems[0].message


def test_rules_hold_for_those_they_concern_only():
    base = {"n_emb": 30, "n_groups": 4, "n_kv_heads": 3, "n_heads": 4, "n_rank": 99}
    for attention in registry.attention.names():
        for network in registry.network.names():
            config = Config.read({**base, "c_attention": attention, "c_network": network})
            expected = {name for name in ("n_kv_heads", "n_groups", "n_rank") if config.applies(name)}
            assert {problem.field for problem in config.problems()} == expected
    assert Config.read({"c_attention": "mha", "c_network": "mlp", **base}).problems() == []


@given(st.integers(1, 5000), st.integers(1, 6000))
def test_nearest_divisor(number, wish):
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    assert nearest_divisor(number, wish) == min(divisors, key=lambda d: (abs(d - wish), d))


def test_parameters_apply_to_the_variants_that_name_them():
    plain = Config.read({"c_attention": "mha", "c_network": "mlp"})
    owned = {p.name for p in PARAMETERS.values() if p.owner}
    assert {p.name for p in plain.active()} == set(PARAMETERS) - owned == set(plain.to_dict())
    mixed = plain.replace(c_network="moe")
    assert mixed.applies("n_experts") and not plain.applies("n_experts")
    assert "n_experts" in mixed.to_dict() and "n_experts" not in plain.to_dict()
    for slot in ("attention", "network"):
        for name in getattr(registry, slot).names():
            for parameter in getattr(registry, slot).get(name).parameters:
                assert PARAMETERS[parameter].owner == slot, f"{name} names {parameter}"


# Round trips and presets ----------------------------------------------------------------------------------------------


def test_round_trip():
    config = Config.read({"n_emb": 48, "c_network": "moe", "n_experts": 7, "s_warmup": 0.25, "s_stride": "auto",
                          "n_seed": 99, "other": [1], "ggl_shuffle": False}, strict=False)
    again = Config.read(config.to_dict(), strict=False)
    assert again.to_dict() == config.to_dict() and again.extra == config.extra == {"other": [1]}
    assert "other" not in config.to_dict(extra=False)
    changed = config.replace(n_emb=64)
    assert (changed.n_emb, config.n_emb, changed.n_experts, changed.extra) == (64, 48, 7, {"other": [1]})
    with pytest.raises(ConfigError):
        config.replace(n_embb=64)


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    config = preset(name).validate()
    assert all(config.values[key] == value for key, value in PRESETS[name].items())
    assert age(config) == name


def test_presets_are_those_that_were_promised():
    assert list(PRESETS) == ["newborn", "3m", "6m", "12m", "24m", "48m"]
    for name, n_ctx in zip(list(PRESETS)[1:], (8, 16, 32, 64, 128), strict=True):
        found = preset(name)
        assert (found.n_ctx, found.n_layers, found.n_emb, found.head_size, found.n_heads, found.batch_size,
                found.r_learn, found.r_dropout) == (n_ctx, 16, 128, 128, 16, 16, 0.001, 0.1)
    with pytest.raises(ConfigError, match="newborn, 3m"):
        preset("teenager")


def test_age_is_the_longest_context_reached():
    base = {"n_emb": 128}
    assert [age(Config.read({**base, "n_ctx": n})) for n in (4, 8, 15, 64, 100, 4096)] == \
        ["newborn", "3m", "3m", "24m", "24m", "48m"]


# Errors and events ----------------------------------------------------------------------------------------------------


def test_exit_codes():
    assert (BabyError.exit_code, UsageError.exit_code, ConfigError.exit_code, FormatError.exit_code) == (1, 2, 2, 1)


EVENTS = [
    events.Start(step=0, config={"n_emb": 8}, parameters=5, vocab_size=3, steps=9, tokens_per_step=4, train_tokens=100,
                 validation_tokens=10, dataset="a"),
    events.Step(step=1, loss=2.5, learning_rate=0.1, gradient_norm=1.0, epoch=0.5, tokens=4, seconds=0.1,
                tokens_per_second=40.0),
    events.Evaluation(step=1, train_loss=None, validation_loss=2.0, tokens=4, seconds=0.1, full=True),
    events.Norms(step=1, gradient={"head": 1.0}, update={"head": 0.1}, weight={"head": 2}),
    events.Sample(step=1, prompt="a", text="a\x1b"), events.Checkpoint(step=1, path="p", reason="policy"),
    events.Alarm(step=1, name="not-finite", message="m"), events.Control(step=1, command="stop"),
    events.End(step=1, reason="finished", train_loss=1.0, validation_loss=None, tokens=4, seconds=1.0)]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_events_round_trip(event):
    raw = event.to_dict()
    assert raw["event"] == event.kind == type(event).__name__.lower()
    assert events.parse(raw) == event == events.parse({**raw, "from_a_later_version": 1})
    with pytest.raises(FormatError, match=event.kind):
        events.parse({"event": event.kind})


def test_every_event_is_in_the_round_trip():
    assert {event.kind for event in EVENTS} == set(events.KINDS)
    for raw in ({}, {"event": None}, {"event": ["step"]}, {"event": "party"}):
        with pytest.raises(FormatError):
            events.parse(raw)


def test_no_arrays_are_imported():
    """Forms, help and journals are read by commands that must start at once."""
    program = ("import sys; import engine.config as c, engine.events, engine.registry as r, engine.errors; "
               "c.Config.read({'n_emb': '64', 'c_attention': 'mha', 'dropout': 0}); c.preset('newborn'); "
               "[p.allowed for p in c.PARAMETERS.values()]; r.network.names(); print('numpy' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                          cwd=configs.__file__.rsplit("/", 2)[0])
    assert done.stdout.strip() == "False"
