"""What each filter of the sampler leaves, against twins; what a model sees; replies that go on in the same stream."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import twins
from architectures import ids_for, tiny, wild
from hypothesis import given
from hypothesis import strategies as st

from engine.generate import STAGES, Decoder, Sampler, in_view, stages, stream

some_logits = st.lists(st.floats(-30, 30), min_size=1, max_size=12)
samplers = st.builds(Sampler, st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.sampled_from([0, 1, 3, 50]),
                     st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.sampled_from([0.0, 0.1, 1.0]),
                     st.sampled_from([0.5, 1.0, 1.5]))


def twin_stages(logits: list[float], context: list[int], s: Sampler) -> list[list[float]]:
    """One filter after the other on a list that shrinks, as one would explain it."""
    def share(scores: dict[int, float]) -> dict[int, float]:
        top = max(scores.values())
        powers = {i: np.exp(x - top) for i, x in scores.items()}
        return {i: x / sum(powers.values()) for i, x in powers.items()}

    def whole(p: dict[int, float]) -> list[float]:
        return [p.get(i, 0.0) / sum(p.values()) for i in range(len(logits))]

    scores = {i: float(x) for i, x in enumerate(logits)}
    found = [whole(share(scores))]
    for token in set(context):
        scores[token] *= s.repetition if scores[token] <= 0 else 1 / s.repetition
    found.append(whole(share(scores)))
    if s.temperature == 0:
        best = max(scores, key=lambda i: (scores[i], -i))
        return found + [whole({best: 1.0})] * 4
    p = share({i: x / s.temperature for i, x in scores.items()})
    found.append(whole(p))
    order = sorted(p, key=lambda i: (-p[i], i))
    p = {i: p[i] for i in order[: s.top_k or None]}
    found.append(whole(p))
    total, kept = sum(p.values()), {}
    for i in p:
        if kept and s.top_p < 1 and sum(kept.values()) / total >= s.top_p:
            break
        kept[i] = p[i]
    found.append(whole(kept))
    kept = {i: x for i, x in kept.items() if x >= s.min_p * max(kept.values())}
    return [*found, whole(kept)]


@given(some_logits, samplers, st.lists(st.integers(0, 11), max_size=4))
def test_stages_against_a_twin(logits, sampler, context):
    context = [i for i in context if i < len(logits)]
    found = stages(np.array(logits), sampler, context)
    assert tuple(stage.name for stage in found) == STAGES
    expected = twin_stages(logits, context, sampler)
    for stage, twin in zip(found, expected, strict=True):
        edge = np.isclose(stage.probabilities, twin, rtol=1e-9, atol=1e-12)
        if not edge.all():  # only where a sum or a share falls on the very limit may rounding choose otherwise
            p = expected[STAGES.index("temperature")]
            sums = np.cumsum(sorted(p, reverse=True))
            near_p = np.isclose(sums, sampler.top_p * sums[min(sampler.top_k or len(p), len(p)) - 1], atol=1e-9).any()
            near_m = np.isclose(np.array(twin), sampler.min_p * max(twin), atol=1e-9).any()
            ties = len(np.unique(np.round(p, 12))) < len(p)
            assert near_p or near_m or ties, (stage.name, stage.probabilities, twin)


@given(some_logits, samplers, st.lists(st.integers(0, 11), max_size=4))
def test_the_last_stage_is_what_is_sampled_from(logits, sampler, context):
    context = [i for i in context if i < len(logits)]
    found = stages(np.array(logits), sampler, context)
    assert np.array_equal(found[-1].probabilities, sampler.probabilities(np.array(logits), context))
    assert np.array_equal(found[0].probabilities, Sampler().probabilities(np.array(logits)))
    assert [stage.left for stage in found] == [int((stage.probabilities > 0).sum()) for stage in found]
    for before, stage in pairwise(found):
        assert stage.acts or stage.probabilities is before.probabilities


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("n_ctx", [1, 2, 5, 6])
@pytest.mark.parametrize("begun", [1, 3, 6, 9])
def test_what_is_in_view(begun, n_ctx, cache):
    """A formula for what the decoder keeps."""
    model = wild(tiny(n_ctx=n_ctx))
    prompt = list(range(1, begun + 1))
    decoder = Decoder(model, cache=cache)
    decoder.start(np.array([[i % 7 for i in prompt]]))
    for made in range(40):
        kept = len(decoder.history) if not cache else decoder.position
        assert in_view(begun, made, n_ctx, cache) == kept, (begun, made)
        assert len(twins.continuation_contexts(prompt, [0] * (made + 1), n_ctx, cache)[made]) == kept
        decoder.next(np.array([made % 7]))


@pytest.mark.parametrize("kept", [0, 1, 7, 64, 65, 200])
def test_a_reply_that_goes_on_is_the_longer_reply(kept):
    """Its random numbers are those of the tokens that it would have written at once."""
    model = wild(tiny(n_ctx=300))
    prompt = ids_for(model.config)[0, :3].tolist()
    for sampler in (Sampler(seed=5), Sampler(0.7, 4, 0.9, 0.01, 1.2, seed=6)):
        whole = [token.id for token in stream(model, prompt, kept + 20, sampler)]
        rest = stream(model, prompt + whole[:kept], 20, sampler, skip=kept)
        assert [token.id for token in rest] == whole[kept:]
