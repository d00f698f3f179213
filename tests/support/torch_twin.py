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

# Attentions: (w: the weights of the layer by file name, x (B, T, D), plan) → (B, T, D) --------------------------------


def heads(x, h):
    """(B, T, h·d) as (B, h, T, d)."""
    return x.unflatten(-1, (h, -1)).transpose(1, 2)


def hear(q, k, v, tau):
    """Causal softmax attention; all (B, h, T, d)."""
    T = q.shape[2]
    scores = q @ k.transpose(-1, -2) / (sqrt(q.shape[-1]) * tau)
    scores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), float("-inf"))
    return F.softmax(scores, -1) @ v


def spoken(w, x, plan):
    """The heads of mha, (B, h, T, d)."""
    return hear(*(heads(x @ w[f"{part}_weight"], plan["n_heads"]) for part in "qkv"), plan["r_temp"])


def joined(w, o):
    return o.transpose(1, 2).flatten(2) @ w["c_weight"] + w["c_bias"]


def mha(w, x, plan):
    return joined(w, spoken(w, x, plan))


def gqa(w, x, plan):
    h = plan["n_heads"]
    shared = plan["n_kv_heads"] or max(1, h // 4)
    its = torch.tensor([j * shared // h for j in range(h)])  # the head whose keys and values query head j reads
    k, v = (heads(x @ w[f"{part}_weight"], shared)[:, its] for part in "kv")
    return joined(w, hear(heads(x @ w["q_weight"], h), k, v, plan["r_temp"]))


def mixed(w, o, gates):
    """Heads o (B, h, T, d) under gates (B, T, h)."""
    return torch.einsum("bth,bhtd->btd", gates, o) @ w["m_weight"] + w["m_bias"]


def moh(w, x, plan):
    return mixed(w, spoken(w, x, plan), F.softmax(x @ w["g_weight"] / plan["r_temp"], -1))


def swh(w, x, plan):
    p = F.softmax(x @ w["g_weight"] / plan["r_temp"], -1)
    chosen = F.one_hot(p.argmax(-1), plan["n_heads"]).to(p.dtype)
    return mixed(w, spoken(w, x, plan), chosen + (p - p.detach()))  # the value of the choice, the gradient of p


def rfa(w, x, plan):
    h, W, T = plan["n_heads"], plan["s_window"], x.shape[1]
    q, k, v = (heads(x @ w[f"{part}_weight"], h) for part in "qkv")
    keep = torch.sigmoid(w["memory_decay"])[:, None]  # (h, 1)
    m = torch.zeros_like(torch.cat([k, v], -1)[:, :, 0])  # (B, h, 2d)
    slots = []
    for t in range(T):
        if t >= W:
            m = keep * m + (1 - keep) * torch.cat([k, v], -1)[:, :, t - W]
        slots.append(m)
    slot_k, slot_v = torch.stack(slots, 2).chunk(2, -1)  # (B, h, T, d)
    t, i = torch.arange(T)[:, None], torch.arange(T)
    scores = (q @ k.transpose(-1, -2)).masked_fill((i > t) | (i <= t - W), float("-inf"))
    slot = (q * slot_k).sum(-1, keepdim=True).masked_fill(t < W, float("-inf"))
    a = F.softmax(torch.cat([scores, slot], -1) / (sqrt(q.shape[-1]) * plan["r_temp"]), -1)
    return joined(w, a[..., :T] @ v + a[..., T:] * slot_v)


def gla(w, x, plan):
    z = (x @ w["k_weight"] / plan["r_temp"]) * (x @ w["v_weight"])
    n = F.layer_norm(z, z.shape[-1:], w["norm_gamma"], w["norm_beta"], 1e-5)
    K, D = plan["s_kernel"], x.shape[-1]
    before = K // 2 if plan["c_convolution"] == "centred" else K - 1
    padded = F.pad(n.transpose(1, 2), (before, K - 1 - before))
    c = F.conv1d(padded, w["conv_weight"][:, None], w["conv_bias"], groups=D)
    return F.relu(c).transpose(1, 2) @ w["c_weight"] + w["c_bias"]


def averages(k, v):
    """Over the past, per channel, under the exponential of the clipped keys."""
    powers = torch.exp(torch.clamp(k, -20, 20))
    return torch.cumsum(powers * v, 1) / torch.cumsum(powers, 1)


def aft(w, x, plan):
    return averages(x @ w["k_weight"] / plan["r_temp"], x @ w["v_weight"]) @ w["c_weight"] + w["c_bias"]


# Networks, the same way -----------------------------------------------------------------------------------------------


def expert(w, stem, x):
    u = F.gelu(x @ w[stem + "up_weight"] + w[stem + "up_bias"], approximate="tanh")
    return u @ w[stem + "dn_weight"] + w[stem + "dn_bias"]


def mlp(w, x, plan):
    return expert(w, "proj_", x)


def moe(w, x, plan):
    gates = F.softmax(x @ w["g_weight"], -1)
    return sum(gates[..., e, None] * expert(w, f"expert_{e}_", x) for e in range(plan["n_experts"]))


def lor(w, x, plan):
    low = x @ w["c_proj_dn_weight"] @ w["c_proj_up_weight"]
    return x @ w["c_proj_weight"] + w["c_proj_bias"] + low / plan["n_rank"]


def swi(w, x, plan):
    gate = F.silu(x @ w["c_proj_gt_weight"] + w["c_proj_gt_bias"])
    return ((x @ w["c_proj_up_weight"] + w["c_proj_up_bias"]) * gate) @ w["c_proj_dn_weight"] + w["c_proj_dn_bias"]


def gln(w, x, plan):
    return (x @ w["c_weight"] + w["c_bias"]) * torch.sigmoid(x @ w["g_weight"] + w["g_bias"])


def ggl(w, x, plan):
    groups = x.chunk(plan["n_groups"], -1)
    z = torch.stack([(group @ w[f"linear_{g}_weight"]) * torch.sigmoid(group @ w[f"gate_{g}_weight"])
                     for g, group in enumerate(groups)], -2)  # (B, T, G, D/G)
    return (z.transpose(-1, -2) if plan["ggl_shuffle"] else z).flatten(-2)


def nft(w, x, plan):
    s = averages(x @ w["k_weight"], x @ w["v_weight"])
    return (torch.sigmoid(x @ w["q_weight"]) * s) @ w["c_weight"] + w["c_bias"]


ATTENTIONS = {"mha": mha, "gqa": gqa, "moh": moh, "swh": swh, "rfa": rfa, "gla": gla, "aft": aft}
NETWORKS = {"mlp": mlp, "moe": moe, "lor": lor, "swi": swi, "gln": gln, "ggl": ggl, "nft": nft}


def variant(table, name, w, block, x, plan):
    """The layer `name` of a block, with its own weights."""
    prefix = f"{block}{name}_"
    return table[name]({key.removeprefix(prefix): value for key, value in w.items() if key.startswith(prefix)}, x, plan)


def loss_of(w, inputs, targets, plan):
    """Mean cross entropy of ids (B, T)."""
    x = w["wte_weight"][inputs] + w["wpe_weight"][: inputs.shape[1]]

    def norm(name, y):
        return F.layer_norm(y, y.shape[-1:], w[name + "_gamma"], w[name + "_beta"], 1e-5)

    for i in range(plan["n_layers"]):
        b = f"block_{i}_"

        def attention(y, b=b):
            return variant(ATTENTIONS, plan["c_attention"], w, b, y, plan)

        def network(y, b=b):
            return variant(NETWORKS, plan["c_network"], w, b, y, plan)

        if plan["c_sequence"] == "pre":
            x = x + attention(norm(b + "ln1", x))
            x = x + network(norm(b + "ln2", x))
        else:
            x = norm(b + "ln1", x + attention(x))
            x = norm(b + "ln2", x + network(x))
    logits = norm("ln_f", x) @ w["lm_head_weight"] + w["lm_head_bias"]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train(w, inputs, targets, rates, plan):
    """Losses and norms of the steps; w is trained in place."""
    matrices, vectors = [p for p in w.values() if p.ndim >= 2], [p for p in w.values() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": plan["r_decay"]},
                                   {"params": vectors, "weight_decay": 0.0}], betas=(plan["r_beta1"], plan["r_beta2"]),
                                  eps=1e-8)
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
            grads = {name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in w.items()}
            out |= {f"{case}/g/{name}": value.numpy() for name, value in grads.items()}
    np.savez(target, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
