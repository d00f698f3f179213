"""Sampling against obvious twins; decoding with a cache, without one, in batches and past the context."""

from __future__ import annotations

import sys
import warnings
from math import exp

import numpy as np
import pytest
import twins
from architectures import VOCAB, every_pair, ids_for, tiny, wild
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import prepared
from engine.errors import ConfigError
from engine.generate import Decoder, Sampler, candidates, stream, stream_batch
from engine.model import Model
from engine.prepared import Prepared

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
some_logits = st.lists(st.floats(-30, 30), min_size=1, max_size=12)


def ids_of(tokens) -> list[int]:
    return [token.id for token in tokens]


def twin_probabilities(logits, context, s: Sampler) -> list[float]:
    """Each filter in words: a token is kept when …"""
    scores = [float(x) for x in logits]
    if context:
        for token in set(context):
            scores[token] = scores[token] / s.repetition if scores[token] > 0 else scores[token] * s.repetition
    if s.temperature == 0:
        best = scores.index(max(scores))
        return [1.0 if i == best else 0.0 for i in range(len(scores))]
    p = twins.softmax([score / s.temperature for score in scores])
    order = sorted(range(len(p)), key=lambda i: (-p[i], i))  # of equals the first comes first
    if s.top_k:
        kept = set(order[: s.top_k])
        p = [p[i] / sum(p[j] for j in kept) if i in kept else 0.0 for i in range(len(p))]
    if s.top_p < 1:
        kept, mass = set(), 0.0
        for i in order:
            if kept and mass >= s.top_p:
                break
            kept.add(i)
            mass += p[i]
        p = [p[i] if i in kept else 0.0 for i in range(len(p))]
    if s.min_p:
        p = [value if value >= s.min_p * max(p) else 0.0 for value in p]
    return [value / sum(p) for value in p]


# Sampler --------------------------------------------------------------------------------------------------------------


@given(some_logits, st.floats(0.05, 5), st.integers(0, 14))
def test_temperature_and_top_k(logits, temperature, top_k):
    s = Sampler(temperature=temperature, top_k=top_k)
    np.testing.assert_allclose(s.probabilities(np.array(logits)), twin_probabilities(logits, [], s), **CLOSE)


@given(some_logits, st.floats(0, 1))
@example([0.0, 0.0, 0.0, 0.0], 0.5)
@example([5.0, 1.0], 0.0)
def test_top_p(logits, top_p):
    s = Sampler(top_p=top_p)
    p, plain = s.probabilities(np.array(logits)), Sampler().probabilities(np.array(logits))
    kept = np.flatnonzero(p)
    assert plain[kept].sum() >= min(top_p, 1) - 1e-12, "what is kept has the mass"
    assert plain[kept].sum() - plain[kept].min() < max(top_p, 1e-300) + 1e-12, "and could not have less"
    assert plain[kept].min() >= np.delete(plain, kept).max(initial=0), "it is the most probable that is kept"
    np.testing.assert_allclose(p[kept], plain[kept] / plain[kept].sum(), **CLOSE)


@given(some_logits, st.floats(0, 1))
def test_min_p(logits, min_p):
    p, plain = Sampler(min_p=min_p).probabilities(np.array(logits)), Sampler().probabilities(np.array(logits))
    assert ((p > 0) == ((plain >= min_p * plain.max()) & (plain > 0))).all()
    assert p.sum() == pytest.approx(1)


@given(some_logits, st.lists(st.integers(0, 11), max_size=5), st.floats(0.1, 10))
def test_repetition(logits, context, penalty):
    context = [token % len(logits) for token in context]
    s = Sampler(repetition=penalty)
    given_logits = np.array(logits)
    found = s.probabilities(given_logits, context)
    np.testing.assert_allclose(found, twin_probabilities(logits, context, s), **CLOSE)
    assert np.array_equal(given_logits, logits), "the model's logits are left as they are"


@given(some_logits, st.lists(st.integers(0, 11), max_size=4), st.floats(0.1, 3), st.integers(0, 12), st.floats(0.05, 1),
       st.floats(0, 0.9), st.floats(0.5, 2))
@settings(max_examples=300)
def test_all_filters_together(logits, context, temperature, top_k, top_p, min_p, repetition):
    context = [token % len(logits) for token in context]
    s = Sampler(temperature, top_k, top_p, min_p, repetition)
    found, expected = s.probabilities(np.array(logits), context), np.array(twin_probabilities(logits, context, s))
    assert found.sum() == pytest.approx(1)
    if np.array_equal(found > 0, expected > 0):
        np.testing.assert_allclose(found, expected, **CLOSE)
    else:  # only where rounding decides: a token that stands exactly at a border
        plain = Sampler(temperature, top_k, 1.0, 0.0, repetition).probabilities(np.array(logits), context)
        border = plain[(found > 0) != (expected > 0)]
        sums = np.cumsum(np.sort(plain)[::-1])
        assert np.isclose(sums, top_p, rtol=1e-12, atol=1e-12).any() or \
            np.isclose(border, min_p * plain.max(), rtol=1e-12).any() or np.isclose(np.diff(np.sort(plain)), 0).any()


def test_temperature_zero_takes_the_most_probable():
    logits = np.array([1.0, 3.0, 3.0, -1.0])
    assert Sampler(temperature=0).probabilities(logits).tolist() == [0, 1, 0, 0]
    assert Sampler(temperature=0, repetition=2.0).probabilities(logits, [1]).tolist() == [0, 0, 1, 0]
    assert Sampler(temperature=0, top_k=2, top_p=0.1, min_p=0.5).probabilities(logits).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300, sys.float_info.min])
def test_tiny_temperatures_are_as_good_as_zero(temperature):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = Sampler(temperature=temperature).probabilities(np.array([1.0, 3.0, 2.0], np.float32))
    assert p.tolist() == [0, 1, 0]


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e30])
def test_huge_logits(scale):
    p = Sampler().probabilities(np.array([0.0, 2.0, -3.0]) * scale)
    assert np.isfinite(p).all() and p.argmax() == 1


@pytest.mark.parametrize(("name", "values"), [
    ("temperature", (-0.1, 101, float("nan"))), ("top_k", (-1,)), ("top_p", (-0.1, 1.1, float("nan"))),
    ("min_p", (-1, 2)), ("repetition", (0, 11, float("nan"))), ("seed", (-1, 1 << 63))])
def test_samplers_out_of_range(name, values):
    for value in values:
        with pytest.raises(ConfigError, match=name) as caught:
            Sampler(**{name: value})
        assert caught.value.field == name and str(caught.value).endswith(".")


def test_candidates():
    logits = np.array([0.0, 2.0, 1.0, -1.0])
    s = Sampler(top_k=2, temperature=0.5)
    found = candidates(logits, s, count=3)
    before, after = twins.softmax(list(logits)), twin_probabilities(logits, [], s)
    assert [each.id for each in found] == [1, 2, 0]
    expected = [(before[i], after[i]) for i in (1, 2, 0)]
    np.testing.assert_allclose([(each.before, each.after) for each in found], expected)
    assert candidates(logits, Sampler(repetition=10.0), context=[1], count=1)[0].after < before[1]


# Streams --------------------------------------------------------------------------------------------------------------


def test_samples_agree_with_their_probabilities():
    """Chi-square with a fixed seed: 6,000 replies of one token each. 40 is exceeded once in a million (6 degrees)."""
    model, n = wild(tiny(("pre", "moh", "moe"))), 6_000
    for s in (Sampler(seed=4), Sampler(seed=5, temperature=2.0), Sampler(seed=6, temperature=0.7, top_k=3)):
        tokens = next(stream_batch(model, [1, 2, 3], 1, s, replies=n))
        expected = np.array(twin_probabilities(twins.logits(model.params, [1, 2, 3], model.config)[-1], [], s))
        counts = np.bincount(ids_of(tokens), minlength=VOCAB)
        possible = expected > 0
        assert counts[~possible].sum() == 0
        assert ((counts[possible] - n * expected[possible]) ** 2 / (n * expected[possible])).sum() < 40
        for token in tokens[:50]:
            assert token.probability == pytest.approx(expected[token.id], rel=1e-9)


def test_later_tokens_of_a_stream_agree_with_their_probabilities():
    """Σ over tokens of 1[drawn = i] - p_i is small for every i: the draws of one stream are independent."""
    model = wild(tiny())
    tokens = list(stream(model, [1], 4000, Sampler(seed=8)))
    p = np.array([twins.softmax(list(token.logits)) for token in tokens])
    drawn = np.eye(VOCAB)[ids_of(tokens)]
    z = (drawn - p).sum(0) / np.sqrt((p * (1 - p)).sum(0))
    assert np.abs(z).max() < 5


def test_seeds():
    model = wild(tiny())
    first, again, other = (ids_of(stream(model, [1], 40, Sampler(seed=seed))) for seed in (1, 1, 2))
    assert first == again != other
    fresh = {tuple(ids_of(stream(model, [1], 40, Sampler()))) for _ in range(5)}
    assert len(fresh) == 5, "no seed draws a new one"


def test_streams_run_side_by_side():
    """Two conversations with one model at once do not disturb each other."""
    model = wild(tiny())
    alone = [ids_of(stream(model, [start], 30, Sampler(seed=start))) for start in (1, 2)]
    both = list(zip(stream(model, [1], 30, Sampler(seed=1)), stream(model, [2], 30, Sampler(seed=2)), strict=True))
    assert [ids_of(side) for side in zip(*both, strict=True)] == alone


def test_temperature_zero_is_greedy():
    model = wild(tiny())
    made = ids_of(stream(model, [1, 2], 4, Sampler(temperature=0)))
    context = [1, 2]
    for token in made:
        assert token == int(twins.logits(model.params, context, model.config)[-1].argmax())
        context.append(token)


def test_the_repetition_penalty_sees_prompt_and_reply():
    model = wild(tiny(n_ctx=12))
    tokens = list(stream(model, [3, 3, 5], 8, Sampler(seed=1, repetition=4.0)))
    context = [3, 3, 5]
    for token in tokens:
        expected = twin_probabilities(token.logits, context, Sampler(repetition=4.0))
        assert token.probability == pytest.approx(expected[token.id], rel=1e-9)
        context.append(token.id)


@every_pair
@pytest.mark.parametrize(("n_ctx", "prompt"), [(6, 1), (6, 4), (6, 6), (7, 3), (2, 1), (1, 1), (6, 11)])
@pytest.mark.parametrize("cache", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["cached", "uncached"])
def test_every_token_sees_what_it_should(architecture, n_ctx, prompt, cache):
    """Also past n_ctx: a full cache is cut to its last n_ctx/2 tokens, without a cache the last n_ctx tokens count."""
    model = wild(tiny(architecture, n_ctx=n_ctx))
    ids = ids_for(model.config, batch=1, tokens=prompt)[0].tolist()
    tokens = list(stream(model, ids, 3 * n_ctx + 2, Sampler(seed=3), cache=cache))
    contexts = twins.continuation_contexts(ids, ids_of(tokens), n_ctx, cache)
    for token, context in zip(tokens, contexts, strict=True):
        np.testing.assert_allclose(token.logits, model.logits(context)[-1], atol=1e-11)


@pytest.mark.parametrize("architecture", [("pre", "mha", "mlp"), ("post", "moh", "moe")], ids="-".join)
def test_past_the_context_against_the_slow_model(architecture):
    model = wild(tiny(architecture))
    tokens = list(stream(model, [1, 2], 12, Sampler(seed=3)))
    for token, context in zip(tokens, twins.continuation_contexts([1, 2], ids_of(tokens), 6, True), strict=True):
        np.testing.assert_allclose(token.logits, twins.logits(model.params, context, model.config)[-1], atol=1e-11)


@every_pair
def test_cache_on_equals_cache_off_up_to_the_context(architecture):
    model = wild(tiny(architecture, n_ctx=16))
    on, off = (list(stream(model, [1, 2, 3], 14, Sampler(seed=5), cache=cache)) for cache in (True, False))
    assert ids_of(on) == ids_of(off)
    np.testing.assert_allclose([t.logits for t in on], [t.logits for t in off], atol=1e-12)


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
def test_replies_of_a_batch(cache):
    """Each reply goes its own way, past the context too, and the first says what it would have said alone."""
    model = wild(tiny(("pre", "moh", "mlp")))
    batch = list(stream_batch(model, [1, 2], 15, Sampler(seed=9), replies=4, cache=cache))
    replies = list(zip(*batch, strict=True))
    assert ids_of(replies[0]) == ids_of(stream(model, [1, 2], 15, Sampler(seed=9), cache=cache))
    three = list(zip(*stream_batch(model, [1, 2], 15, Sampler(seed=9), replies=3, cache=cache), strict=True))
    assert [ids_of(reply) for reply in three] == [ids_of(reply) for reply in replies[:3]]
    assert len({tuple(ids_of(reply)) for reply in replies}) == 4
    for reply in replies:
        contexts = twins.continuation_contexts([1, 2], ids_of(reply), 6, cache)
        for token, context in zip(reply, contexts, strict=True):
            np.testing.assert_allclose(token.logits, model.logits(context)[-1], atol=1e-11)


def test_no_prompt_starts_from_the_first_token():
    model = wild(tiny())
    empty, zero = (list(stream(model, prompt, 5, Sampler(seed=1))) for prompt in ([], [0]))
    assert ids_of(empty) == ids_of(zero) and np.array_equal(empty[0].logits, zero[0].logits)


def test_of_a_long_prompt_the_last_tokens_count():
    model = wild(tiny())
    ids = ids_for(model.config, batch=1, tokens=20)[0]
    long, short = (ids_of(stream(model, prompt, 9, Sampler(seed=1))) for prompt in (ids, ids[-6:]))
    assert long == short


@pytest.mark.parametrize("prompt", [[VOCAB], [-1], [1, 2, VOCAB, 1]])
def test_ids_outside_the_vocabulary(prompt):
    with pytest.raises(ConfigError, match="vocabulary of 7"):
        next(stream(wild(tiny()), prompt, 5, Sampler()))


def test_logits_for_nothing_or_too_much():
    model = wild(tiny())
    for ids in (np.zeros(0, int), np.zeros(7, int), np.zeros((2, 0), int)):
        with pytest.raises(ConfigError, match="6"):
            model.logits(ids)


class Counted(Model):
    """A model that counts the tokens it computes."""

    tokens = 0

    def prefill(self, ids, *rest):
        self.tokens += ids.shape[1]
        return super().prefill(ids, *rest)


@pytest.fixture
def prepared_or_not(monkeypatch, request):
    """Replies with prepared weights, which are counted, or with the model's own."""
    if not request.param:
        monkeypatch.setattr(prepared, "LIMIT", 0)

    class CountedSteps(Prepared):
        def __init__(self, model, *rest):
            super().__init__(model, *rest)
            self.model = model

        def __call__(self, *given):
            self.model.tokens += 1
            return super().__call__(*given)

    monkeypatch.setattr(prepared, "Prepared", CountedSteps)


both_ways = pytest.mark.parametrize("prepared_or_not", [True, False], ids=["prepared", "plain"], indirect=True)


@both_ways
@pytest.mark.usefixtures("prepared_or_not")
def test_nothing_is_computed_that_is_not_asked_for():
    model = Counted.from_arrays(tiny(n_ctx=16), wild(tiny(n_ctx=16)).export())
    tokens = stream(model, [1, 2, 3], 1000, Sampler(seed=1))
    assert model.tokens == 0, "nothing before the first is asked for"
    next(tokens)
    assert model.tokens == 3, "the first arrives after the prefill"
    next(tokens)
    next(tokens)
    assert model.tokens == 5, "a step for each"
    tokens.close()
    assert model.tokens == 5 and list(tokens) == []
    assert list(stream(model, [1], 0, Sampler())) == []


@both_ways
@pytest.mark.usefixtures("prepared_or_not")
def test_prefills_past_the_context_are_rare():
    """Half of the context is prefilled again when it is full: less than two tokens are computed for each one made."""
    model = Counted.from_arrays(tiny(n_ctx=16), wild(tiny(n_ctx=16)).export())
    assert len(list(stream(model, [1], 400, Sampler(seed=1)))) == 400
    assert model.tokens < 800


def test_tokens_keep_their_logits():
    """Logits that were handed out are not overwritten by what is computed later."""
    model = wild(tiny())
    tokens, copies = [], []
    for token in stream(model, [1], 30, Sampler(seed=2)):
        tokens.append(token)
        copies.append(token.logits.copy())
        model.logits([1, 2, 3])
        model.losses(ids_for(model.config), ids_for(model.config))
    assert all(np.array_equal(token.logits, copy) for token, copy in zip(tokens, copies, strict=True))


@pytest.mark.parametrize("d_type", ["fp16", "fp32"])
def test_single_precision_agrees_with_double(d_type):
    config = tiny(("pre", "moh", "moe"), d_type=d_type)
    model = wild(config)
    model.round()
    exact = Model.from_arrays(tiny(("pre", "moh", "moe")), model.export())
    tokens = list(stream(model, [1, 2], 20, Sampler(seed=1)))
    for token, context in zip(tokens, twins.continuation_contexts([1, 2], ids_of(tokens), 6, True), strict=True):
        np.testing.assert_allclose(token.logits, exact.logits(context)[-1], atol=1e-4)


def test_probabilities_of_tokens():
    model = wild(tiny())
    for token in stream(model, [1], 10, Sampler(seed=2)):
        powers = [exp(x) for x in token.logits]
        assert token.probability == pytest.approx(powers[token.id] / sum(powers), rel=1e-9)


def test_a_decoder_starts_again():
    model, decoder = wild(tiny()), Decoder(wild(tiny()))
    decoder.start(np.array([[1, 2, 3]]))
    decoder.next(np.array([4]))
    np.testing.assert_allclose(decoder.start(np.array([[5, 6]])), model.logits([[5, 6]])[:, -1], atol=1e-12)
    np.testing.assert_allclose(decoder.next(np.array([1])), model.logits([[5, 6, 1]])[:, -1], atol=1e-12)


def test_lengths_of_all_kinds_keep_little_memory():
    """A chat has prompts of any length, and generation without a cache passes through every length: the buffers that
    are kept must not be those of all lengths together."""
    config = tiny(n_ctx=96, d_type="fp32", n_emb=32, head_size=32)
    longest, all_lengths = Model.create(config, VOCAB), Model.create(config, VOCAB)
    longest.logits(np.zeros(96, int))
    for length in range(1, 97):
        all_lengths.logits(np.zeros(length, int))
    assert all_lengths.arena.bytes <= 4 * longest.arena.bytes
