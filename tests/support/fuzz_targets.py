"""What is fuzzed: for every kind of file, everything that the program does with one that somebody else wrote.

A target takes the bytes of a file, puts them where the program finds them and reads, shows and uses them. It may raise
BabyError, the sentence that a person gets, and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from historic import GUID, VOCAB, newest, ours, put, weights

from engine.errors import BabyError
from store.workspace import Workspace

Target = Callable[[bytes], None]
KINDS = (
    "config",
    "tokenizer",
    "model",
    "report",
    "completion",
    "conversation",
    "checkpoint",
    "adapter",
    "events",
    "plan",
    "text",
    "results",
    "settings",
    "trash",
    "archive",
)
BASE = "cccccccc-0000-4000-8000-000000000003"  # a run
IDS = np.array([3, 1, 4, 1, 5])


@contextlib.contextmanager
def target(kind: str) -> Iterator[Target]:
    """The target for a kind of file, with a workspace of its own as long as the block lasts."""
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="babytui-fuzz-", dir=fast))
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            yield globals()["_" + kind](folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _workspace(folder: Path) -> Workspace:
    """One with a small model of the earlier program."""
    return put(folder / "w", {**newest("mha", "mlp"), "c_device": "cpu"}, weights("mha", "mlp"))


def _shown(ws: Workspace) -> None:
    """Everything that lists and describes what is in the workspace."""
    from babytui.cli.info import _lines, facts
    from babytui.cli.output import Output, count, date, loss, size
    from babytui.tui import backend
    from babytui.tui.axis import amount, clock
    from babytui.tui.screens.info import _facts
    from engine.config import effective

    out = Output(quiet=True)
    for entry in ws.entries():
        row = backend.models._row(entry, None)
        assert all(row.key(column) is not None for column in ("age", "params", "val. loss", "tokens", "date", "size"))
        (row.searchable + row.date).encode()
        _facts(entry)
        amount((entry.report or {}).get("babytui_steps") or 0) + clock((entry.report or {}).get("total_time") or 0)
        entry.config = effective(entry.config)
        for line in _lines(entry, {**facts(entry), "remarks": []}, out):
            line.encode()
        "".join(
            (
                entry.name,
                count(entry.parameters),
                loss(entry.validation_loss),
                count(entry.tokens),
                entry.dataset,
                date(entry.created),
                size(entry.bytes),
                *entry.problems,
            )
        ).encode()


def _config(folder: Path) -> Target:
    from engine.config import Config, age
    from store import artifacts

    ws = _workspace(folder)
    path = ws.find("config", GUID)

    def run(data: bytes) -> None:
        path.write_bytes(data)
        _shown(ws)
        config = artifacts.load_config(ws, GUID)
        age(config)
        if not config.problems():
            artifacts.save_config(ws, GUID, config.to_dict())
            again = artifacts.load_config(ws, GUID)
            assert {p.name: again.values[p.name] for p in config.active()} == {
                p.name: config.values[p.name] for p in config.active()
            }
        assert isinstance(config, Config)

    return run


def _settings(folder: Path) -> Target:
    ws = _workspace(folder)
    ws.settings.mkdir(exist_ok=True)

    def run(data: bytes) -> None:
        for name in ("last.json", "current.json"):
            (ws.settings / name).write_bytes(data)
        with contextlib.suppress(BabyError):
            assert ws.last()["last_uuid"] is None or ws.resolve("last")
        ws.save_last(GUID, "x")
        assert ws.resolve("last") == GUID
        values = ws.current()
        ws.save_current(values)
        assert ws.current() == values

    return run


def _tokenizer(folder: Path) -> Target:
    from engine import registry
    from store import artifacts

    ws = _workspace(folder)
    path = ws.find("tokenizer", GUID)

    def run(data: bytes) -> None:
        path.write_bytes(data)
        vocab, kind = artifacts.load_vocabulary(ws, GUID)
        for name in [kind] if kind else registry.tokenizer.names():
            tokenizer = registry.tokenizer.get(name)(vocab)
            some = vocab[:50]
            assert tokenizer.decode(range(len(some))) == tokenizer.separator.join(some)
            text = tokenizer.keep("ab c\n" + "".join(some)[:1000])
            if text and not tokenizer.separator:
                assert tokenizer.decode(tokenizer.encode(text)) == text

    return run


def _model(folder: Path) -> Target:
    from engine.model import Model
    from store import artifacts

    ws = _workspace(folder)
    path = ws.find("model", GUID)
    config = ours("mha", "mlp")

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            shapes = artifacts.load_shapes(ws, GUID)
        except BabyError:
            shapes = None
        arrays = artifacts.load_model(ws, GUID)
        assert shapes is not None, "what counts finds a fault where what reads finds none"
        assert shapes == {name: getattr(arrays[name], "shape", None if arrays[name] is None else ()) for name in shapes}
        assert all(
            np.isfinite(value).all()
            for name, value in arrays.items()
            if isinstance(value, np.ndarray) and name in shapes
        )
        model = Model.from_arrays(config, arrays)
        assert model.logits(IDS[:2]).shape == (2, model.vocab_size)
        model.export()

    return run


def _report(folder: Path) -> Target:
    from store import artifacts, reports

    ws = _workspace(folder)
    path = ws.path("report", GUID)

    def run(data: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        _shown(ws)
        report = artifacts.load_report(ws, GUID)
        summary = reports.read_summary(path)
        assert len(data) > 1 << 18 or all(summary[key] == report[key] for key in summary)
        artifacts.save_report(ws, GUID, report)
        again = artifacts.load_report(ws, GUID)
        assert again["babytui_curve"] == report["babytui_curve"] if "babytui_curve" in report else True

    return run


def _completion(folder: Path) -> Target:
    from babytui.tui import backend
    from store import artifacts

    ws = _workspace(folder)
    path = ws.path("completion", GUID)

    def run(data: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        assert all(isinstance(reply.text, str) for reply in backend.saved_replies(ws, GUID))
        found = artifacts.load_completion(ws, GUID)
        assert artifacts.load_completions(ws, GUID)[0].data == found
        f"{found['inference_total_time']:.1f} {found['inference_max_tokens'] or 0:,}"

    return run


def _conversation(folder: Path) -> Target:
    from babytui import conversation, conversation_file
    from babytui.visible import visible

    ws = _workspace(folder)
    path = ws.path("conversation", GUID)

    def facts(talk: conversation.Conversation) -> list[Any]:
        return [(deep, one.text, one.receipt().to_dict(), one.how, one.at) for deep, one in talk.branches()]

    def run(data: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        talk = conversation_file.load(ws, GUID, VOCAB)
        assert talk is not None
        for _, one in talk.branches():
            assert len(one.reply) == sum(len(one.piece(i)) for i in range(len(one)))
            assert visible(one.text, newlines=False).isprintable() and one.origin is not None
            talk.place(one)
        if talk.path:
            for form in conversation.FORMATS:
                conversation.export(talk.path, form)
        conversation_file.save(ws, GUID, conversation_file.snapshot(talk))
        again = conversation_file.load(ws, GUID, VOCAB)
        assert facts(again or conversation.Conversation()) == facts(talk)

    return run


def _checkpoint(folder: Path) -> Target:
    from babytui.checkpoints import Checkpoints
    from engine import contents
    from engine.model import Model, each_tensor
    from engine.tokenizer.char import Char
    from engine.trainer import Trainer

    config = checkpoint_config()
    place = folder / "checkpoints"
    place.mkdir()
    kept = Checkpoints(place, folder / "events.jsonl")
    text = np.tile(IDS, 40)

    def run(data: bytes) -> None:
        (place / "step_000000003.safetensors").write_bytes(data)
        found = next(kept.load())
        if isinstance(found, BabyError):
            raise found
        vocab = Char(found[1]["vocab"])
        contents.check_state(each_tensor(config, len(vocab.vocab)), found[0], "The checkpoint")
        model = Model(config, len(vocab.vocab))
        trainer = Trainer(model, vocab, np.minimum(text, len(vocab.vocab) - 1), resume=found, sample_tokens=1)
        try:
            assert trainer.learning_rate >= 0 or trainer.rate_added < 0
            trainer.state()
        finally:
            trainer.team.close()

    return run


def checkpoint_config() -> Any:
    """Of the run whose checkpoint is in the corpus."""
    from engine.config import Config

    return Config.read(
        {
            "n_layers": 1,
            "n_emb": 4,
            "head_size": 4,
            "n_heads": 2,
            "n_ctx": 4,
            "batch_size": 2,
            "n_steps": 9,
            "c_device_cpu_cores": 1,
        }
    )


def _adapter(folder: Path) -> Target:
    from babytui import finetuning
    from engine.model import Model
    from engine.tokenizer.char import Char

    model, vocab = Model.from_arrays(ours("mha", "mlp"), weights("mha", "mlp")), Char(VOCAB)
    path = folder / f"adapter_{GUID}_finetuned.safetensors"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        tuned, more = finetuning.apply_adapter(model, vocab, "a" * 64, path)
        assert tuned.vocab_size == len(more.vocab)
        assert all(np.isfinite(value).all() for value in tuned.params.values())

    return run


def _run_folder(folder: Path) -> Any:
    from babytui.runs import Run

    ws = Workspace(folder / "w").ensure()
    run = Run(ws, BASE)
    run.dir.mkdir(mode=0o700)
    return run


def _events(folder: Path) -> Target:
    from babytui.cli.output import Output
    from babytui.cli.runs import summary
    from babytui.cli.watching import Watch
    from babytui.tui.feed import Feed

    run_ = _run_folder(folder)
    (run_.dir / "plan.json").write_bytes(Path(__file__).parents[1].joinpath("fuzz/corpus/plan/run").read_bytes())

    def run(data: bytes) -> None:
        run_.journal.write_bytes(data)
        row = summary(run_)
        assert row["status"] in ("died", "finished", "stopped", "failed")
        found, _ = run_.events(0, 1 << 20)
        recent, _ = run_.tail(20)
        assert len(recent) <= 20 and len(found) <= data.count(b"\n") + 1
        watch = Watch(run_, Output(quiet=True, color=False))
        with contextlib.redirect_stderr(io.StringIO()):
            for event in found:
                watch._show(event)
            if watch.step is not None:
                watch.text().encode("utf-8", "replace")
            watch.result()
        Feed(run_, 1, lambda message: None).gather()

    return run


def _plan(folder: Path) -> Target:
    from babytui.cli.output import date, loss
    from babytui.cli.runs import summary
    from babytui.tui import backend
    from store import plans
    from store.examine import examine

    run_ = _run_folder(folder)
    path = run_.dir / "plan.json"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        row = summary(run_)
        "".join((row["name"], row["dataset"], date(row["created"]), loss(row["train_loss"]))).encode("utf-8", "replace")
        backend.models._share(run_)
        backend.rows(run_.workspace)
        examine(run_.workspace.root)
        run_.base_name.encode("utf-8", "replace")
        _shown(run_.workspace)
        plans.read(path)
        _conducted(run_.workspace, data, b"")

    return run


def _trash(folder: Path) -> Target:
    from store import trash
    from store.examine import examine

    ws = _workspace(folder)
    place = ws.trash / f"20261122220000-{BASE}"
    (folder / "outside").write_text("kept")

    def files() -> list[str]:
        return sorted(
            path.name for path in folder.rglob("*") if path.is_file() and path.name not in ("lock", "reserve")
        )

    def run(data: bytes) -> None:
        for path in (place / "models" / f"model_{BASE}.json", place / "runs" / BASE / "plan.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        (place / trash.MANIFEST).write_bytes(data)
        before = files()
        for finding in examine(ws.root):
            str(finding).encode("utf-8", "replace")
        for item in trash.items(ws.root):
            (item.name + item.guid + item.state + str(item.bytes)).encode("utf-8", "replace")
            assert all((ws.root / path).resolve().is_relative_to(ws.root) for path, _ in item.pieces)
        _shown(ws)
        with contextlib.suppress(BabyError):
            back = trash.restore(ws.root, trash.find(ws.root, "last").folder)
            assert all(path.resolve().is_relative_to(ws.root) for path in back)
        after = files()
        assert [name for name in after if name != trash.MANIFEST] == [name for name in before if name != trash.MANIFEST]
        with contextlib.suppress(BabyError):
            trash.empty(ws.root, [item.folder for item in trash.items(ws.root)])
        for path in (ws.models / f"model_{BASE}.json", ws.runs / BASE):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(ws.trash)

    return run


def _archive(folder: Path) -> Target:
    from store import importing

    kept = folder / "kept"
    kept.write_text("kept")

    def run(data: bytes) -> None:
        (folder / "a.zip").write_bytes(data)
        ws = Workspace(folder / "w")
        try:
            found = importing.bring(ws, folder / "a.zip")
            assert {entry.guid for entry in ws.entries()} == {one.guid for one in found}
            assert all(path.is_file() and not path.is_symlink() for one in found for path in one.files)
            _shown(ws)
        except BabyError:
            assert not any(path.is_file() for name in ("models", "configs", "tokenizers", "outputs")
                           for path in (ws.root / name).glob("*"))
            raise
        finally:
            left = {path.name for path in ws.trash.glob("*")}
            shutil.rmtree(ws.root, ignore_errors=True)
        assert left <= {"lock", "reserve"}
        assert {path.name for path in folder.iterdir()} == {"a.zip", "kept"} and kept.read_text() == "kept"

    return run


def _results(folder: Path) -> Target:
    ws = Workspace(folder / "w").ensure()
    plan = Path(__file__).parents[1].joinpath("fuzz/corpus/plan/bakeoff").read_bytes()
    return lambda data: _conducted(ws, plan, data)


def _conducted(ws: Workspace, plan: bytes, lines: bytes) -> None:
    """A bake-off with this plan, whose log and results are both these lines."""
    from babytui import bakeoff, bakeoff_table
    from babytui.bakeoff_progress import Progress, ordered
    from babytui.cli.bakeoff import _facts
    from babytui.cli.bakeoff_live import screen
    from babytui.tui.screens.bakeoff_lines import head_lines, now_lines, word_lines

    found = bakeoff.BakeOff(ws, GUID)
    found.dir.mkdir(parents=True, exist_ok=True)
    for path, data in ((found.dir / "plan.json", plan), (found.log, lines), (found.results, lines)):
        path.write_bytes(data)
    progress = Progress(found)
    rows = ordered(progress.look(), "validation_loss")
    values = [row.values for row in rows]
    bakeoff_table.as_csv(values)
    bakeoff_table.exported(values)
    screen(progress, "perplexity", 100, 30)
    head_lines(progress, rows, progress.status, progress.left(), 80)
    now_lines(rows, progress.status, found.message, 80)
    for row in rows:
        word_lines(row, "tokens")
    _facts(found)
    found.failures()
    found.run_guids()


def _text(folder: Path) -> Target:
    from engine.tokenizer.char import Char
    from engine.tokenizer.word import Word
    from inputs import reading

    path = folder / "a.txt"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        text = reading.read_text(path, 1 << 23)
        whole = text.text
        assert len(whole) == text.characters and "\r" not in whole and whole.strip()
        if len(whole) < 1 << 16:
            for kind in (Char, Word):
                tokenizer = kind.fit(text)
                assert tokenizer.decode(tokenizer.encode(whole)) == whole and tokenizer.count(whole) == len(
                    tokenizer.encode(text)
                )

    return run


if __name__ == "__main__":
    print(*KINDS, file=sys.stderr)
