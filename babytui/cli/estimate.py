"""babytui estimate"""

from __future__ import annotations

from typing import Any

from babytui import devices, texts, workspace_choice
from babytui.cli.output import Output, count, seconds, size
from babytui.cli.settings import config_of


def run(arguments: Any) -> int:
    """Say what a configuration costs on this machine with the text it would learn."""
    from engine import registry
    from engine.estimate import estimate

    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    config = config_of(arguments, workspace, out)
    paths = texts.find(workspace, arguments.input or [])
    text = texts.read(paths)
    tokenizer = registry.tokenizer.get(config.c_tokenizer).fit(text)
    out.line("measuring this machine…")
    found = estimate(config, vocab_size=len(tokenizer.vocab), text_tokens=tokenizer.count(text),
                     speed=devices.calibrated(config))
    out.clear()
    if arguments.json:
        out.data({"parameters": found.parameters, "model_file_bytes": found.model_file_bytes,
                  "training_bytes": found.training_bytes, "generation_bytes": found.generation_bytes,
                  "flops_per_step": found.flops_per_step, "flops_per_token": found.flops_per_token,
                  "tokens_needed": list(found.tokens_needed), "steps": found.steps, "seconds": found.seconds,
                  "dataset": texts.dataset(paths), "warnings": found.warnings})
        return 0
    span = " to ".join(count(number) for number in found.tokens_needed)
    rows = [("text", texts.dataset(paths)), ("parameters", count(found.parameters)),
            ("model file", size(found.model_file_bytes)), ("memory to train", size(found.training_bytes)),
            ("memory to write", size(found.generation_bytes)), ("work per step", f"{count(found.flops_per_step)} FLOP"),
            ("tokens it could use", span), ("steps", count(found.steps)), ("time", seconds(found.seconds))]
    for name, value in rows:
        out.print(f"{name:<20} {value}")
    for warning in found.warnings:
        out.alarm(warning)
    return 0
