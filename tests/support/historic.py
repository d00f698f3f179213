"""Files as The Little Baby wrote them, from v0.0.2 to v0.1.25: key lists and styles as in FORMATS.md, spelled out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config import Config
from store.workspace import Workspace

GUID = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "bbbbbbbb-0000-4000-8000-000000000002"
VOCAB = ["\n", " ", "a", "b", "c", "é", "你"]
IDS = [3, 1, 4, 1, 5, 6]
# all different where they may be, so that nothing fits by chance
V, N, D, H, h, d, k, K, E, r, G, LAYERS = 7, 6, 8, 12, 4, 3, 2, 5, 3, 2, 2, 2
F = 4 * D

GLOBALS = {"wte_weight": (V, D), "wpe_weight": (N, D), "ln_f_gamma": (D,), "ln_f_beta": (D,), "lm_head_weight": (D, V),
           "lm_head_bias": (V,)}
NORMS = {"ln1_gamma": (D,), "ln1_beta": (D,), "ln2_gamma": (D,), "ln2_beta": (D,)}
_QKV = {"q_weight": (D, H), "k_weight": (D, H), "v_weight": (D, H)}
_EXPERT = {"up_weight": (D, F), "up_bias": (F,), "dn_weight": (F, D), "dn_bias": (D,)}
_MIXED = {**_QKV, "g_weight": (D, h), "m_weight": (d, D), "m_bias": (D,)}
# name → shape, or the value of a scalar, in the order of FORMATS
ATTENTIONS: dict[str, dict[str, Any]] = {
    "mha": {**_QKV, "c_weight": (H, D), "c_bias": (D,)},
    "moh": _MIXED,
    "gqa": {"q_weight": (D, H), "k_weight": (D, k * d), "v_weight": (D, k * d), "c_weight": (H, D), "c_bias": (D,)},
    "swh": _MIXED,
    "gla": {"kernel_size": K, "k_weight": (D, D), "v_weight": (D, D), "c_weight": (D, D), "c_bias": (D,),
            "conv_weight": (D, K), "conv_bias": (D,), "norm_gamma": (D,), "norm_beta": (D,)},
    "rfa": {**_QKV, "c_weight": (H, D), "c_bias": (D,)},
    "aft": {"q_weight": (D, D), "k_weight": (D, D), "v_weight": (D, D), "c_weight": (D, D), "c_bias": (D,)},
}
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"proj_up_weight": (D, F), "proj_up_bias": (F,), "proj_dn_weight": (F, D), "proj_dn_bias": (D,)},
    "moe": {"g_weight": (D, E), "n_expansion": 4, "n_experts": E,
            **{f"expert_{e}_{name}": shape for e in range(E) for name, shape in _EXPERT.items()}},
    "lor": {"c_proj_weight": (D, D), "c_proj_bias": (D,), "c_proj_dn_weight": (D, r), "c_proj_up_weight": (r, D),
            "rank": r, "alpha": 1.0},
    "swi": {"c_proj_up_weight": (D, F), "c_proj_gt_weight": (D, F), "c_proj_up_bias": (F,), "c_proj_gt_bias": (F,),
            "c_proj_dn_weight": (F, D), "c_proj_dn_bias": (D,)},
    "gln": {"c_weight": (D, D), "c_bias": (D,), "g_weight": (D, D), "g_bias": (D,)},
    "ggl": {name: (D // G, D // G) for g in range(G) for name in (f"linear_{g}_weight", f"gate_{g}_weight")},
    "nft": {"q_weight": (D, D), "k_weight": (D, D), "v_weight": (D, D), "c_weight": (D, D), "c_bias": (D,)},
}
OURS = {"rfa": {"memory_decay": (h,)}}  # tensors that only babytui writes, after theirs


def keys(attention: str, network: str) -> dict[str, Any]:
    """The whole model file: globals, then for each block its norms, attention and network."""
    found = dict(GLOBALS)
    for i in range(LAYERS):
        found |= {f"block_{i}_{name}": shape for name, shape in NORMS.items()}
        found |= {f"block_{i}_{attention}_{name}": shape for name, shape in ATTENTIONS[attention].items()}
        found |= {f"block_{i}_{network}_{name}": shape for name, shape in NETWORKS[network].items()}
    return found


def weights(attention: str, network: str, seed: int = 0) -> dict[str, Any]:
    """Random contents of a model file; float64 arrays that float32 holds exactly."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for name, shape in keys(attention, network).items():
        if not isinstance(shape, tuple):
            found[name] = shape
            continue
        values = 0.4 * rng.standard_normal(shape) + (1.0 if name.endswith("gamma") else 0.0)
        found[name] = values.astype(np.float32).astype(np.float64)
    return found


def plain(contents: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in contents.items()}


def dump(path: Path, value: Any) -> None:
    """As that program wrote JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False), encoding="utf-8")


# --- the styles of a config ------------------------------------------------------------------------------------------

FIRST = {"n_ctx": N, "n_emb": D, "dropout": 0.1, "head_size": H, "n_heads": h, "n_layers": LAYERS, "num_epochs": 2,
         "batch_size": 16, "lr": 0.001}
_DEVICE = {"c_device": "cpu", "c_device_cpu_cores": "16", "c_device_gpu_core": "0", "c_device_gpu_tensor": "0"}
RUNTIME = {"model_version": "v0.1.0", "model_params": 1234, "model_size": 4936, "device_name": "cpu",
           "device_cores": "16", "library_version": "2.1.0", "library_driver": "default"}


def second(attention: str, network: str) -> dict[str, Any]:
    """v0.0.8 and v0.0.9."""
    return {"c_sequence": "post", "c_attention": attention, "c_network": network, **FIRST}


def third(attention: str, network: str) -> dict[str, Any]:
    """About v0.1.2: the device, the tokenizer and the optimizer under the old names of the numbers."""
    return {**_DEVICE, "c_tokenizer": "char", **second(attention, network), "c_optimizer": "adamw"}


def mixed(attention: str, network: str) -> dict[str, Any]:
    """v0.1.3 to v0.1.9: no two alike; numbers as text."""
    return {**_DEVICE, "c_device_gpu_cuda": "auto", "c_tokenizer": "char", "c_sequence": "post",
            "c_attention": attention, "c_network": network, "c_optimizer": "adamw", "n_ctx": str(N), "n_emb": D,
            "s_head": str(H), "n_heads": float(h), "n_layers": str(LAYERS), "num_epochs": "2", "s_batch": "16",
            "r_dropout": "0.1", "lr": "0.001", "s_warmup": "100"}


def newest(attention: str, network: str) -> dict[str, Any]:
    """v0.1.13 and later, as saved beside a model."""
    return {**_DEVICE, "c_device": "gpu", "c_device_gpu_cuda": "cuda12", "c_tokenizer": "char", "c_sequence": "post",
            "c_attention": attention, "c_network": network, "c_optimizer": "adamw", "d_type": "fp32", "n_ctx": N,
            "n_emb": D, "s_head": H, "n_heads": h, "n_layers": LAYERS, "n_epochs": 2, "s_batch": 16, "r_dropout": 0.1,
            "r_temp": 1, "r_learn": 0.001, "s_warmup": "none", "c_shuffle": False, "r_split": 0.9, "runtime": RUNTIME}


def put(root: Path, config: dict[str, Any] | None, contents: dict[str, Any], vocab: list[str] | None = None, *,
        guid: str = GUID, model: str = "models/model_{}.json", configs: str = "configs") -> Workspace:
    """Writes a model's files."""
    if config is not None:
        dump(root / configs / f"config_{guid}.json", config)
    dump(root / "tokenizers" / f"tokenizer_{guid}.json", {"vocab": vocab or VOCAB, "vocab_size": len(vocab or VOCAB)})
    dump(root / model.format(guid), plain(contents))
    return Workspace(root)


PAIRS = [(attention, network) for attention in ATTENTIONS for network in NETWORKS
         if attention == "mha" or network == "mlp"]
every_variant = pytest.mark.parametrize(("attention", "network"), PAIRS, ids=lambda name: name)


def ours(attention: str, network: str, **more: Any) -> Config:
    return Config.read({"c_attention": attention, "c_network": network, "n_ctx": N, "n_emb": D, "head_size": H,
                        "n_heads": h, "n_kv_heads": k, "s_kernel": K, "n_experts": E, "n_rank": r, "n_groups": G,
                        "n_layers": LAYERS, "s_window": 3, **more})
