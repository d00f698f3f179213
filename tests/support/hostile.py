"""A workspace from a stranger: every text in it tries to drive the terminal. And what a terminal must not be sent."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from pathlib import Path
from typing import Any

from engine.config import Config
from engine.model import Model
from store import artifacts, journal
from store.workspace import Workspace

GUID = "1badc0de-0000-4000-8000-000000000001"
RUN = "1badc0de-0000-4000-8000-000000000002"
BAKE_OFF = "1badc0de-0000-4000-8000-000000000003"
TEXT = "text\x1b]0;text\x07\u202e[red].txt"
SEQUENCES = {
    "colour": "\x1b[31m", "clear": "\x1b[2J\x1b[H", "title": "\x1b]0;owned\x07", "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "hyperlink": "\x1b]8;;file:///etc/passwd\x1b\\", "device control": "\x1bP1$qm\x1b\\",
    "application": "\x1b_Gi=1\x1b\\", "privacy": "\x1b^x\x1b\\", "reset": "\x1bc", "report position": "\x1b[6n",
    "report itself": "\x1b[>c", "alternate screen": "\x1b[?1049h", "mouse": "\x1b[?1003h", "window": "\x1b[8;5;5t",
    "string of C1": "\x9d0;owned\x9c", "control of C1": "\x9b31m", "device control of C1": "\x90qm\x9c", "bell": "\x07",
    "back": "\x08\x08\x08", "return": "\rforged", "answer back": "\x05", "shift out": "\x0e", "form feed": "\x0b\x0c",
    "cancel": "\x18", "delete": "\x7f", "override": "\u202egnp.exe\u202c", "isolate": "\u2066a\u2067b\u2069",
    "invisible": "\u200b\ufeff\u00ad", "line": "\u2028\u2029\x85", "tag": "\U000e0041", "markup": "[bold red]m[/]",
    "action": "[@click=app.quit]q[/]", "link": "[link=http://x.y]l[/link]", "broken markup": "[/nothing] [",
}
PAYLOAD = "".join(SEQUENCES.values())
TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}


def evil(tag: str) -> str:
    """A text that is told by its tag where it is shown."""
    return f"{tag}{PAYLOAD}{tag}"


def workspace(folder: Path) -> Workspace:
    """A model, a run that died, a bake-off, a text and settings, with hostile text wherever text can stand."""
    made = Workspace(folder / "w\x1b]0;root\x07\u202e[red]").ensure()
    _model(made)
    _run(made)
    _bake_off(made)
    (made.inputs / TEXT).write_text("The cat \u202esat\u202c on\u200b the [red]mat[/].\n" * 60, encoding="utf-8")
    (made.root / "own.json").write_text(json.dumps({"n_layers": 1, evil("key"): evil("value"), "c_attention": "mha"}))
    return made


def _model(made: Workspace) -> None:
    """A word model: each of its tokens is a whole sequence, and all are about equally likely."""
    vocab = [*(f"{name}{text}" for name, text in SEQUENCES.items()), " ", "\n", *"abcdefghij"]
    config = Config.read({**TINY, "c_tokenizer": "word"})
    artifacts.save_config(made, GUID, {**config.to_dict(), "babytui_name": "stranger", evil("extra"): evil("extra")},
                          {"device_name": evil("device"), "model_params": 1234})
    artifacts.save_tokenizer(made, GUID, "word", vocab)
    artifacts.save_model(made, GUID, Model.create(config, len(vocab)).export())
    artifacts.save_report(made, GUID, {"dataset": evil("dataset"), "babytui_reason": evil("reason"), "babytui_steps": 7,
                                       "total_time": 3.0, evil("key"): evil("value")})
    artifacts.save_completion(made, GUID, {
        "prompt": evil("asked"), "generation": evil("completion"), "inference_max_tokens": 5,
        "inference_total_time": 1.0, "inference_cache": True})


def converse(made: Workspace) -> None:
    """A conversation is kept with the model; its reply holds the sequences."""
    from replies import said

    from babytui import conversation_file, library
    from babytui.conversation import Conversation

    talk = Conversation()
    said(library.load(GUID, made), talk, "", 200)
    conversation_file.save(made, GUID, conversation_file.snapshot(talk))


def events(now: float) -> list[dict[str, Any]]:
    """The journal of a run."""
    end: dict[str, Any] = {"event": "end", "step": 9, "time": now, "reason": "failed", "train_loss": 3.1,
                           "validation_loss": 3.2, "tokens": 288, "seconds": 1.5, "message": evil("end")}
    return [
        {"event": "start", "step": 0, "time": now, "parameters": 1234, "vocab_size": 40, "train_tokens": 1000,
         "validation_tokens": 100, "dataset": evil("dataset"), "steps": 100, "steps_per_epoch": 10, "cores": 1},
        {"event": "step", "step": 1, "time": now, "loss": 3.5, "learning_rate": 0.001, "gradient_norm": 1.0,
         "tokens": 32, "epoch": 0.1, "seconds": 0.1, "tokens_per_second": 320.0},
        {"event": "evaluation", "step": 2, "time": now, "train_loss": 3.4, "validation_loss": 3.3, "tokens": 64,
         "seconds": 0.2, "full": True},
        {"event": "sample", "step": 2, "time": now, "prompt": evil("prompt"), "text": evil("sample")},
        {"event": "checkpoint", "step": 3, "time": now, "path": evil("path"), "reason": evil("why")},
        {"event": "alarm", "step": 4, "time": now, "name": evil("short"), "message": evil("alarm")},
        {"event": "control", "step": 5, "time": now, "command": evil("command"), "value": None},
        end,
    ]


def _run(made: Workspace) -> None:
    folder = made.run_dir(RUN)
    folder.mkdir(parents=True, mode=0o700)
    plan = {"guid": RUN, "created": time.time(), "name": evil("runner"), "texts": [f"/{evil('source')}.txt"],
            "notes": [evil("note")], "dataset": evil("learnt"), "prompt": evil("prompt"), "time_budget": None,
            "config": Config.read(TINY).to_dict()}
    (folder / "plan.json").write_text(json.dumps(plan))
    lines = journal.Journal(folder / "events.jsonl")
    for event in events(time.time()):
        lines.append(event)
    lines.close()
    (folder / "worker.log").write_text(evil("log") + "\n", encoding="utf-8")


def _bake_off(made: Workspace) -> None:
    folder = made.root / "bakeoffs" / BAKE_OFF
    folder.mkdir(parents=True, mode=0o700)
    plan = {"guid": BAKE_OFF, "created": time.time(), "name": evil("bake"), "dataset": evil("baked"),
            "architectures": [["mha", "mlp", "pre"], ["gla\x1b[31m\u202e", "mlp[red]", "pre"]], "budget": {"steps": 5},
            "seed": 1, "jobs": 1, "texts": [], "config": Config.read(TINY).to_dict(),
            "machine": {"processor": evil("machine")}}
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "results.jsonl").write_text(json.dumps(
        {"attention": "mha", "network": "mlp", "sequence": "pre", "error": evil("error")}) + "\n")


# --- what a terminal gets ---------------------------------------------------------------------------------------------

CLI = re.compile(r"\r\n|\r(?!forged)|\n|\x1b\[[0-9;]*[ABJKm]")
# Textual's: moves, colours, modes it sets and queries, the keyboard protocol, pointer shapes
APP = re.compile(r"\x1b\[[0-9;]*[Hm]|\x1b\[\?(?:1000|1003|1004|1006|1015|1016|1049|2004|2026|2048|25|7)[hl]|"
                 r"\x1b\[\?(?:2026|2048)\$p|\x1b\[5n|\x1b\[[<>]\d*u|\x1b\]22;[a-z-]*\x07|\r\n|\r(?!forged)|\n")


def driven(output: bytes, own: re.Pattern[str]) -> list[str]:
    """What is left that can drive a terminal, each with what follows it, once the program's `own` is taken away."""
    text = own.sub("", output.decode("utf-8"))
    return [text[at: at + 20] for at, character in enumerate(text)
            if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
