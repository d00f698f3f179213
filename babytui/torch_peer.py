"""The same GPT written plainly in PyTorch, for `babytui bench --peer PYTHON`. Needs torch and nothing of ours.

    python torch_peer.py {train,decode,prefill,load,save} [--n_ctx N …] [--threads N] [--steps N] [--tokens N]
    python torch_peer.py learn --ids FILE --held-back N [--target LOSS] [--every N] [--most N] [--seed N] [--n_ctx N …]

Pre-norm, learned positions, GELU in its tanh form, an untied head; AdamW and clipping at 1 in training; a cache that is
allocated once in decoding, filled again from half a context when it is full. Eager. Prints one JSON object: peer, mode,
and tokens_per_s or seconds.

`learn` trains on a text with the recipe that `train` measures until the loss over all that is held back is at most
the target: seconds (of training alone), steps, loss. The file is of ids, little-endian int32, those held back last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WARM, LEAST, SECONDS = 5, 7, 1.0


class Layer(nn.Module):
    """Attention and network, each behind a layer norm and added to what comes in: (B, T, D) → (B, T, D)."""

    def __init__(self, n_emb: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.before_attention = nn.LayerNorm(n_emb)
        self.query_key_value = nn.Linear(n_emb, 3 * n_emb, bias=False)
        self.together = nn.Linear(n_emb, n_emb)
        self.network = nn.Sequential(nn.LayerNorm(n_emb), nn.Linear(n_emb, 4 * n_emb), nn.GELU(approximate="tanh"),
                                     nn.Linear(4 * n_emb, n_emb))

    def forward(self, x: Tensor, cache: Tensor | None = None, start: int = 0) -> Tensor:
        """cache: (2, B, h, n_ctx, d) keys and values, to which those of x are added from `start` on."""
        heads = [part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, h, T, d)
                 for part in self.query_key_value(self.before_attention(x)).chunk(3, -1)]
        q, k, v = heads
        if cache is not None:
            end = start + x.shape[1]
            cache[0, :, :, start:end], cache[1, :, :, start:end] = k, v
            k, v = cache[0, :, :, :end], cache[1, :, :, :end]
        o = F.scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1)
        x = x + self.together(o.transpose(1, 2).flatten(2))
        return x + self.network(x)


class Gpt(nn.Module):
    """ids (B, T) → logits (B, T, V)."""

    def __init__(self, vocab: int, n_ctx: int, n_emb: int, n_heads: int, n_layers: int):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, n_emb), nn.Embedding(n_ctx, n_emb)
        self.layers = nn.ModuleList([Layer(n_emb, n_heads) for _ in range(n_layers)])
        self.last_norm, self.head = nn.LayerNorm(n_emb), nn.Linear(n_emb, vocab)

    def forward(self, ids: Tensor, caches: list[Tensor] | None = None, start: int = 0) -> Tensor:
        """caches: one for each layer, already filled up to `start`."""
        x = self.tokens(ids) + self.positions.weight[start : start + ids.shape[1]]
        for number, layer in enumerate(self.layers):
            x = layer(x, caches[number] if caches else None, start)
        return self.head(self.last_norm(x if caches is None else x[:, -1:]))


def steps(model: Gpt, text: Tensor, given: argparse.Namespace) -> Iterator[float]:
    """Training steps on random windows of ids (N,), each with the seconds it took."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    across = torch.arange(given.n_ctx + 1)
    while True:
        begun = time.perf_counter()
        windows = text[torch.randint(len(text) - given.n_ctx, (given.batch_size, 1)) + across]
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        yield time.perf_counter() - begun


def train(model: Gpt, given: argparse.Namespace) -> float:
    """Seconds of a whole step."""
    text = torch.randint(given.vocab, (1 << 17,))
    return median(list(islice(steps(model, text, given), WARM + given.steps))[WARM:])


@torch.no_grad()
def full_loss(model: Gpt, ids: Tensor, n_ctx: int) -> float:
    """Mean cross entropy over ids (N,), every one but the first predicted once, from the start of its window on."""
    total, whole = 0.0, (len(ids) - 1) // n_ctx * n_ctx
    if len(ids) < 2:
        return 0.0
    windows = list(torch.stack([ids[:whole].view(-1, n_ctx), ids[1 : whole + 1].view(-1, n_ctx)]).split(64, 1))
    if whole < len(ids) - 1:
        windows.append(torch.stack([ids[whole:-1], ids[whole + 1 :]])[:, None])
    for inputs, targets in windows:
        total += F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum").item()
    return total / (len(ids) - 1)


def learn(model: Gpt, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds, steps and loss when the target is reached; loss None when it never is."""
    ids = torch.frombuffer(bytearray(Path(given.ids).read_bytes()), dtype=torch.int32).long()
    seconds, least, near = 0.0, float("inf"), given.target + 0.2
    text, held_back = ids[: -given.held_back], ids[-given.held_back :]
    for step, took in enumerate(islice(steps(model, text, given), given.most), 1):
        seconds += took
        # reading all of it costs as much as many steps: the first tenth tells when it may be worth it
        if step % given.every == 0 and full_loss(model, held_back[: len(held_back) // 10], given.n_ctx) < near:
            loss = full_loss(model, held_back, given.n_ctx)
            least = min(loss, least)
            if loss <= given.target:
                return {"seconds": seconds, "steps": step, "loss": loss}
    return {"seconds": seconds, "steps": given.most, "loss": None, "least": least}


def decode(model: Gpt, given: argparse.Namespace) -> float:
    """Seconds of a token of one reply, the mean: filling the cache again is part of the price."""
    shape = (2, 1, given.n_heads, given.n_ctx, given.n_emb // given.n_heads)
    caches = [torch.empty(shape) for _ in model.layers]
    ids, start, times = torch.zeros((1, 1), dtype=torch.long), 0, []
    history = ids
    for _ in range(given.tokens):
        begun = time.perf_counter()
        if start + ids.shape[1] > given.n_ctx:
            ids, start = history[:, -max(1, given.n_ctx // 2) :], 0
        chances = model(ids, caches, start)[0, -1].softmax(-1)
        start += ids.shape[1]
        ids = torch.multinomial(chances, 1)[None]
        history = torch.cat([history[:, -given.n_ctx :], ids], 1)
        ids.item()
        times.append(time.perf_counter() - begun)
    return fmean(times[20:])


def timed(call: Callable[[], Any]) -> float:
    """The median time of a call in seconds, the first ones left out."""
    times: list[float] = []
    while len(times) < WARM + LEAST or sum(times[WARM:]) < SECONDS:
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return median(times[WARM:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["train", "decode", "prefill", "load", "save", "learn"])
    defaults = {"n_ctx": 64, "n_emb": 128, "n_heads": 4, "n_layers": 4, "batch_size": 12, "vocab": 65, "threads": 0,
                "steps": 60, "tokens": 620, "held-back": 0, "every": 25, "most": 20000, "seed": 0}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--ids", default="")
    parser.add_argument("--target", type=float, default=1.88)
    given = parser.parse_args()
    if given.mode == "learn" and not (given.ids and given.held_back):
        parser.error("learn needs --ids and --held-back")
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    model = Gpt(given.vocab, given.n_ctx, given.n_emb, given.n_heads, given.n_layers)
    found: dict[str, object] = {"peer": f"torch {torch.__version__} eager, {torch.get_num_threads()} threads",
                                "mode": given.mode}
    if given.mode == "train":
        found["tokens_per_s"] = given.batch_size * given.n_ctx / train(model, given)
    elif given.mode == "learn":
        found |= learn(model, given)
    elif given.mode == "decode":
        with torch.inference_mode():
            found["tokens_per_s"] = 1 / decode(model, given)
    elif given.mode == "prefill":
        shape = (2, 1, given.n_heads, given.n_ctx, given.n_emb // given.n_heads)
        caches, ids = [torch.empty(shape) for _ in model.layers], torch.randint(given.vocab, (1, given.n_ctx))
        with torch.inference_mode():
            found["tokens_per_s"] = given.n_ctx / timed(lambda: model(ids, caches))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.pt"
            torch.save(model.state_dict(), path)
            if given.mode == "save":
                found["seconds"] = timed(lambda: torch.save(model.state_dict(), path))
            else:
                found["seconds"] = timed(lambda: model.load_state_dict(torch.load(path, weights_only=True)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
