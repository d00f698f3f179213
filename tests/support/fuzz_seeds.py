"""Writes tests/fuzz/corpus: small whole files of every kind, from which the fuzzer begins.

python tests/support/fuzz_seeds.py
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
from fuzz_targets import BASE, IDS, checkpoint_config  # noqa: E402
from historic import GUID, VOCAB, mixed, newest, plain, put, second, third, weights  # noqa: E402

from engine import events  # noqa: E402
from engine.model import Model  # noqa: E402
from engine.tokenizer.char import Char  # noqa: E402
from engine.trainer import Trainer  # noqa: E402
from store import archive, checkpoint, configs, journal  # noqa: E402
from store.workspace import Workspace  # noqa: E402

CORPUS = ROOT / "tests" / "fuzz" / "corpus"


def keep(kind: str, name: str, data: object) -> None:
    path = CORPUS / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode())


def conversation() -> dict[str, object]:
    """Two exchanges, and a fork of the first that has another token in the middle."""
    sampler = {"temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition": 1.0, "seed": 7}
    part = {"keep": 0, "chosen": None, "tokens": 4, "cache": True, "sampler": sampler,
            "model": {"guid": GUID, "name": "cats", "step": 3, "sha256": "a" * 64}}
    fork = {**part, "keep": 2, "chosen": 5, "tokens": 2}
    receipt = {"format": 1, "prompt": "a b", "prompt_ids": [2, 1, 3], "ids": [2, 3, 4, 2], "parts": [part],
               "versions": {"babytui": "0.1.0", "numpy": "2.4.0"}}
    row = {"parent": -1, "shown": False, "how": "said", "at": -1, "vocabulary": 0, "n_ctx": 6, "opening": "a b",
           "probabilities": [0.5, 0.25, 0.125, 1.0], "receipt": receipt}
    return {
        "babytui_conversation": 1,
        "vocabularies": [{"separator": "", "symbols": [[2, "a"], [3, "b"], [4, "c"], [5, "é"]]}],
        "exchanges": [
            row,
            {**row, "parent": 0, "shown": True, "opening": "\n",
             "receipt": {**receipt, "prompt": None, "prompt_ids": [0]}},
            {**row, "how": "forked", "at": 2, "shown": True, "probabilities": [0.5, 0.25, 0, 0.5, 1],
             "receipt": {**receipt, "ids": [2, 3, 5, 3, 2], "parts": [part, fork]}},
        ],
    }


def write() -> None:
    """All of them."""
    for name, config in (("second", second), ("third", third), ("mixed", mixed), ("newest", newest)):
        keep("config", name, config("gqa", "moe"))
    ours = checkpoint_config()
    keep(
        "config",
        "ours",
        {
            **configs.export_config(ours.to_dict()),
            "babytui_format": 1,
            "babytui_name": "a name",
            "babytui_created": 1.7e9,
            "runtime": {"model_params": 12},
            "babytui_base": {"guid": GUID, "name": "b", "rank": 2, "freeze": ["wte*"]},
        },
    )
    keep("settings", "current", {**ours.to_dict(), "other": 1})
    keep("settings", "last", {"last_uuid": GUID, "last_prompt": "None", "max_tokens": "50"})
    keep("tokenizer", "char", {"vocab": VOCAB, "vocab_size": len(VOCAB), "babytui_kind": "char"})
    keep("tokenizer", "word", {"vocab": ["a", "word", " ", "\n\n"], "vocab_size": 4})
    numbers = {
        name: np.round(value, 1).tolist() if isinstance(value, np.ndarray) else value
        for name, value in weights("mha", "mlp").items()
    }
    keep("model", "whole", {**numbers, "evaluation": 43, "notes": {"a": [1, "x"]}, "grid": [[1, 2], [3, 4]]})
    small = {name: value for name, value in plain(numbers).items() if "up" not in name and "dn" not in name}
    keep("model", "lacking", json.dumps(small, indent=4).encode())
    keep(
        "report",
        "first",
        {
            "num_epochs": 1,
            "train_batches_per_epoch": 3,
            "average_train_loss_per_epoch": 2.5,
            "batch_logs": ["Epoch 1/1 | Batch 1/3 | train_loss = 2.5"],
            "epoch_logs": [],
            "total_time": 1.5,
        },
    )
    keep(
        "report",
        "ours",
        {
            "n_epochs": 1,
            "dataset": "cats",
            "total_time": 3.25,
            "train_cache": True,
            "batch_logs": ["a"],
            "epoch_logs": ["b"],
            "babytui_parameters": 100,
            "babytui_steps": 9,
            "babytui_tokens": 72,
            "babytui_validation_loss": 2.0,
            "babytui_curve": [[0, None, 3.5], [9, 2.5, 2.0]],
            "average_val_loss_per_epoch": 2.0,
            "babytui_seconds": 3.25,
            "x": {"y": [1]},
        },
    )
    keep(
        "completion",
        "old",
        {
            "prompt": None,
            "generation": "\nabc",
            "inference_max_tokens": None,
            "inference_total_time": 0.5,
            "inference_cache": True,
            "evaluation": 30.5,
        },
    )
    keep(
        "completion",
        "ours",
        {
            "prompt": "a",
            "generation": "abc",
            "inference_max_tokens": 3,
            "inference_total_time": 0.5,
            "inference_cache": False,
            "babytui_sampler": {"temperature": 0.8, "seed": 1},
        },
    )
    keep("conversation", "branched", conversation())
    model = Model.create(ours, len(VOCAB))
    trainer = Trainer(model, Char(VOCAB), np.tile(IDS, 40), sample_tokens=4)
    lines = []
    for event in trainer:
        lines.append(event.to_dict())
        if event.step == 3 and isinstance(event, events.Step):
            arrays, meta = trainer.state()
    lines += [
        one.to_dict()
        for one in (
            events.Checkpoint(step=3, path="checkpoints/step_000000003.safetensors", reason="policy"),
            events.Alarm(step=4, name="spike", message="The loss jumped."),
            events.Control(step=4, command="learning_rate", value=0.1),
            events.Control(step=5, command="pause"),
        )
    ]
    keep("events", "run", b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    keep("events", "torn", b"".join(json.dumps(line).encode() + b"\n" for line in lines[:6]) + b'{"event": "st')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "events.jsonl")
        with journal.Journal(path) as thinned:
            for line in lines:
                thinned.append(line)
        journal.thin(path, lambda line: line["event"] != "step" or line["step"] % 4 == 0, recent=0)
        keep("events", "thinned", path.read_bytes())
        path = Path(folder, "x.safetensors")
        meta = {**meta, "vocab": VOCAB, "text_sha256": "a" * 64, "extra": [["evaluation", 3], ["grid", None]]}
        checkpoint.write(path, {**arrays, "extra/grid": np.ones((2, 2), np.float32)}, meta)
        keep("checkpoint", "step", path.read_bytes())
        rng = np.random.default_rng(1)
        factors = {
            "block_0_mha_q_weight.lora_a": rng.normal(size=(8, 2)).astype(np.float32),
            "block_0_mha_q_weight.lora_b": rng.normal(size=(2, 12)).astype(np.float32),
            "new/wte_weight": np.ones((1, 8), np.float32),
            "new/lm_head_weight": np.ones((8, 1), np.float32),
            "new/lm_head_bias": np.ones(1, np.float32),
        }
        about = {
            "babytui_adapter": 1,
            "base": {"guid": GUID, "name": "b", "sha256": "a" * 64},
            "rank": 2,
            "alpha": 0.0,
            "scale": 1.0,
            "target": [],
            "freeze": [],
            "symbols": ["z"],
        }
        checkpoint.write(path, factors, about)
        keep("adapter", "new", path.read_bytes())
        checkpoint.write(path, {k: v for k, v in factors.items() if "lora" in k}, {**about, "symbols": []})
        keep("adapter", "plain", path.read_bytes())
    plan = {
        "guid": BASE,
        "created": 1.7e9,
        "config": ours.to_dict(),
        "name": "cats",
        "texts": ["/nowhere/cats.txt"],
        "notes": ["cats.txt was unpacked."],
        "dataset": "cats",
        "prompt": "",
        "time_budget": None,
    }
    keep("plan", "run", plan)
    keep(
        "plan",
        "finetune",
        {
            **plan,
            "base": {"guid": GUID, "name": "b", "sha256": "a" * 64, "r_learn": 0.001, "workspace": "/w"},
            "adaptation": {"freeze": ["wte*"], "rank": 2, "alpha": 0.0, "target": [], "new_symbols": 1},
            "trained_parameters": 99,
        },
    )
    keep(
        "plan",
        "bakeoff",
        {
            "guid": GUID,
            "created": 1.7e9,
            "name": "bake",
            "architectures": [["mha", "mlp", "pre"], ["swh", "moe", "post"]],
            "config": ours.to_dict(),
            "texts": ["/nowhere/cats.txt"],
            "dataset": "cats",
            "notes": [],
            "text_sha256": "a" * 64,
            "vocab_size": 7,
            "prompt": "",
            "budget": {"steps": 9},
            "seed": 1,
            "jobs": 1,
            "machine": {"processor": "x", "cores": 2, "system": "Linux", "python": "3"},
        },
    )
    one, two = (
        {"attention": "mha", "network": "mlp", "sequence": "pre"},
        {"attention": "swh", "network": "moe", "sequence": "post"},
    )
    told = [
        {"event": "begin", "pid": 1, "time": 1.7e9},
        {"event": "run", "guid": BASE, **one, "time": 1.7e9},
        {
            **one,
            "guid": BASE,
            "name": "x",
            "validation_loss": 2.5,
            "perplexity": 12.2,
            "train_loss": 2.6,
            "steps": 9,
            "tokens": 72,
            "seconds": 1.5,
            "tokens_per_second": 48.0,
            "generation_tokens_per_second": 900.0,
            "parameters": 300,
            "state_bytes": 512,
            "cache_bytes_per_token": 128.0,
            "elapsed": 2.0,
            "ended": 1.7e9,
        },
        {"event": "run", "guid": GUID, **two, "time": 1.7e9},
        {**two, "error": "It failed.", "elapsed": 1.0, "ended": 1.7e9},
        {"event": "retry", **two},
        {"event": "end", "reason": "finished", "message": "", "time": 1.7e9},
    ]
    keep("results", "log", b"".join(json.dumps(line).encode() + b"\n" for line in told))
    pieces = [{"path": f"models/model_{BASE}.json", "was": [2, 1]}, {"path": f"runs/{BASE}", "was": [2, 1]}]
    for state in ("whole", "moving"):
        told = {
            "babytui_trash": 1,
            "guid": BASE,
            "name": "cats",
            "kind": "model",
            "time": 1.7e9,
            "state": state,
            "pieces": pieces,
        }
        keep("trash", state, told)
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder), {**newest("mha", "mlp"), "c_device": "cpu"}, numbers)
        done = archive.write(Workspace(folder), GUID, Path(folder) / "a.zip", name="cats")
        keep("archive", "export", done.path.read_bytes())
    words = "The cat sat on the mat.\nDer Bär saß “da”.\r\n\n"
    for name, data in (
        ("utf8", words.encode()),
        ("bom", words.encode("utf-8-sig")),
        ("utf16", words.encode("utf-16")),
        ("utf32", words.encode("utf-32")),
        ("cp1252", words.encode("cp1252")),
        ("latin1", "Bär, Ñandú\n".encode("latin-1")),
        ("gzip", gzip.compress(words.encode() * 3, mtime=0)),
        ("twice", gzip.compress(b"one\n", mtime=0) + gzip.compress(b"two\n", mtime=0)),
    ):
        keep("text", name, data)


if __name__ == "__main__":
    write()
