"""The same models written in PyTorch; run by test_torch.py with a Python that has it: torch_twin.py IN.npz OUT.npz.

IN holds, per case c: `c/plan` (JSON), `c/w/<name>` the weights under their file names, `c/inputs`, `c/targets`
(S, B, T) and, when training, `c/rates` (S,). OUT gets `c/loss` and `c/g/<name>` of the first batch; when training
`c/losses`, `c/norms` of all S steps and `c/w/<name>` after them. Imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from math import sqrt

import numpy as np
import torch
from torch.nn import functional as F


def attention(w, prefix, x, plan):
    """x: (B, T, D)."""
    kind, h, tau = plan["c_attention"], plan["n_heads"], plan["r_temp"]
    B, T, _ = x.shape
    p = f"{prefix}{kind}_"
    q, k, v = ((x @ w[f"{p}{part}_weight"]).view(B, T, h, -1).transpose(1, 2) for part in "qkv")
    scores = q @ k.transpose(-1, -2) / (sqrt(q.shape[-1]) * tau)
    scores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), float("-inf"))
    o = F.softmax(scores, -1) @ v  # (B, h, T, d)
    if kind == "mha":
        return o.transpose(1, 2).reshape(B, T, -1) @ w[p + "c_weight"] + w[p + "c_bias"]
    gates = F.softmax(x @ w[p + "g_weight"] / tau, -1)  # (B, T, h)
    return torch.einsum("bth,bhtd->btd", gates, o) @ w[p + "m_weight"] + w[p + "m_bias"]


def network(w, prefix, x, plan):
    """x: (B, T, D)."""
    p = f"{prefix}{plan['c_network']}_"

    def expert(stem):
        u = F.gelu(x @ w[stem + "up_weight"] + w[stem + "up_bias"], approximate="tanh")
        return u @ w[stem + "dn_weight"] + w[stem + "dn_bias"]

    if plan["c_network"] == "mlp":
        return expert(p + "proj_")
    gates = F.softmax(x @ w[p + "g_weight"], -1)
    return sum(gates[..., e, None] * expert(f"{p}expert_{e}_") for e in range(plan["n_experts"]))


def loss_of(w, inputs, targets, plan):
    """Mean cross entropy of ids (B, T)."""
    x = w["wte_weight"][inputs] + w["wpe_weight"][: inputs.shape[1]]

    def norm(name, y):
        return F.layer_norm(y, y.shape[-1:], w[name + "_gamma"], w[name + "_beta"], 1e-5)

    for i in range(plan["n_layers"]):
        b = f"block_{i}_"
        if plan["c_sequence"] == "pre":
            x = x + attention(w, b, norm(b + "ln1", x), plan)
            x = x + network(w, b, norm(b + "ln2", x), plan)
        else:
            x = norm(b + "ln1", x + attention(w, b, x, plan))
            x = norm(b + "ln2", x + network(w, b, x, plan))
    logits = norm("ln_f", x) @ w["lm_head_weight"] + w["lm_head_bias"]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train(w, inputs, targets, rates, plan):
    """Losses and norms of the steps; w is trained in place."""
    matrices, vectors = [p for p in w.values() if p.ndim >= 2], [p for p in w.values() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": plan["r_decay"]},
                                   {"params": vectors, "weight_decay": 0.0}], betas=(0.9, 0.99), eps=1e-8)
    losses, norms = [], []
    for batch, wanted, rate in zip(inputs, targets, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = loss_of(w, batch, wanted, plan)
        loss.backward()
        if plan["clip"] == "torch":  # divides by norm + 1e-6
            norm = torch.nn.utils.clip_grad_norm_(list(w.values()), plan["r_clip"])
        else:
            norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in w.values()]))
            for p in w.values():
                p.grad *= min(1.0, plan["r_clip"] / float(norm))
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
    return losses, norms


def main(source, target):
    torch.set_num_threads(1)
    given, out = np.load(source), {}
    for case in sorted({name.split("/")[0] for name in given.files}):
        plan = json.loads(str(given[f"{case}/plan"]))
        stem = f"{case}/w/"
        w = {name.removeprefix(stem): torch.tensor(given[name], requires_grad=True)
             for name in given.files if name.startswith(stem)}
        inputs, targets = torch.tensor(given[f"{case}/inputs"]), torch.tensor(given[f"{case}/targets"])
        if f"{case}/rates" in given.files:
            losses, norms = train(w, inputs, targets, given[f"{case}/rates"].tolist(), plan)
            out |= {f"{case}/losses": losses, f"{case}/norms": norms}
            out |= {f"{case}/w/{name}": value.detach().numpy() for name, value in w.items()}
        else:
            loss = loss_of(w, inputs[0], targets[0], plan)
            loss.backward()
            out[f"{case}/loss"] = loss.item()
            out |= {f"{case}/g/{name}": value.grad.numpy() for name, value in w.items()}
    np.savez(target, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
