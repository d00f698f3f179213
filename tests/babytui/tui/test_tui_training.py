"""Training: a real tiny run from the button to the chat, steering it, leaving it and finding it again."""

from __future__ import annotations

from typing import Any

from textual.message import Message

from babytui import runs
from babytui.tui.feed import Delta, Feed, Followed
from babytui.tui.panes.numbers import RunView, numbers
from engine.config import Config
from engine.events import Start
from store.journal import Journal
from store.workspace import Workspace

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}


def fill(app: Any, **values: Any) -> None:
    """Types values into the form."""
    form = app.playground.config.form
    for name, value in values.items():
        form.fields[name].value = str(value)


async def test_from_the_form_to_the_chat(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        fill(app, **TINY, n_steps=60, name="kitten", prompt="The")
        await pilot.press("f9")
        training = app.playground.training
        await until(pilot, lambda: training.view.name == "kitten")
        assert app.playground.current == "training"
        await until(pilot, lambda: training.view.status == "finished")
        assert training.view.done == 60
        assert "train" in training.chart.plain
        assert "100% finished" in training.query_one("#numbers").plain
        assert "finished at step 60" in " ".join(training.query_one("#log").plain.split())
        assert "The" in training.query_one("#samples").plain
        models = app.playground.models
        await until(pilot, lambda: any(row.name == "kitten" and row.has_model for row in models._shown))
        await until(pilot, lambda: app.playground.chat.baby is not None and app.playground.chat.baby.name == "kitten")
        await pilot.press("f5")
        await until(pilot, lambda: app.playground.chat.prompt.has_focus)
        await pilot.press(*"The", "enter")
        await until(pilot, lambda: not app.playground.chat.writing and app.playground.chat.last_reply())
        assert app.playground.chat.last_reply().startswith("The")
        assert app.workspace.current()["n_emb"] == 8


async def test_steering_leaving_and_coming_back(playground: Any, until: Any, workspace: Workspace) -> None:
    async with playground(120, 40) as (app, pilot):
        fill(app, **TINY, n_steps=1_000_000)
        await pilot.press("f9")
        training = app.playground.training
        await until(pilot, lambda: training.view.status == "running" and training.view.done)
        await until(pilot, lambda: training.has_focus_within)
        await pilot.press("p")
        await until(pilot, lambda: training.view.status == "paused")
        await pilot.press("r")
        await until(pilot, lambda: training.view.status == "running")
        await pilot.press("c")
        await until(pilot, lambda: "checkpoint (command)" in " ".join(training.query_one("#log").plain.split()))
        await until(pilot, lambda: any("training" in row.state for row in app.playground.models._shown))
        await pilot.press("q")  # asks nothing
    run = runs.find(workspace, "last")
    assert run.alive
    async with playground(80, 24) as (app, pilot):
        training = app.playground.training
        await until(pilot, lambda: training.view.guid == run.guid and training.view.status == "running")
        await until(pilot, lambda: "%" in app.playground.query_one("#topbar").plain)
        await pilot.press("f3")
        await until(pilot, lambda: training.has_focus_within)
        await pilot.press("s")
        await until(pilot, lambda: training.view.status == "stopped")
        await until(pilot, lambda: app.playground.chat.baby is not None)
    assert run.wait(60) == "stopped"


async def test_a_run_that_cannot_start_says_why(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        fill(app, **{**TINY, "n_ctx": 100_000}, n_steps=5)
        await pilot.press("f9")
        said = await until(pilot, lambda: [n.message for n in app._notifications if n.severity == "error"])
        assert said[0].endswith((".", "!")) and "Traceback" not in said[0]
        assert not list(app.workspace.runs.glob("*"))


async def test_keys_without_a_run_say_what_to_do(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f3")
        await until(pilot, lambda: app.playground.training.has_focus_within)
        await pilot.press("p", "y", "x", "m", "left_square_bracket")
        await until(pilot, lambda: any("F9 starts one" in n.message for n in app._notifications))
        assert app.playground.training.chart.options.log_y


def test_a_long_journal_becomes_one_small_message(workspace: Workspace) -> None:
    run = runs.Run(workspace, "00000000-0000-4000-8000-000000000001")
    run.dir.mkdir(parents=True)
    (run.dir / "plan.json").write_text('{"created": 1}')
    with Journal(run.journal) as journal:
        journal.append({"event": "start", "step": 0, "time": 1.0, "steps": 90_000, "config": {}})
        for n in range(1, 90_001):
            journal.append({"event": "step", "step": n, "time": 1.0, "loss": 1 + 1 / n, "seconds": n / 100, "tokens": n,
                            "learning_rate": 0.1, "gradient_norm": 1.0, "epoch": 0.1, "tokens_per_second": 10.0})
        journal.append({"event": "alarm", "step": 90_000, "time": 1.0, "name": "x", "message": "It is not finite."})
        journal.append({"event": "end", "step": 90_000, "time": 1.0, "reason": "failed", "message": "It failed.",
                        "train_loss": None, "validation_loss": None, "tokens": 1, "seconds": 1.0})
    messages: list[Followed] = []
    feed = Feed(run, 1, lambda message: (messages.append(message), feed.taken())[1])  # type: ignore[arg-type, func-returns-value]
    feed.follow()
    delta = messages[0].delta
    assert delta.status == "failed" and delta.step is not None and delta.step["step"] == 90_000
    assert len(delta.points) <= 2049
    assert [text for _, text, role in delta.notes if role == "bad"] == ["It is not finite.", "It failed."]


def test_a_run_that_went_back_has_one_curve(workspace: Workspace) -> None:
    """Killed at step 9 and taken up at 4: the steps in between are drawn once, as they were done the second time."""
    run = runs.Run(workspace, "00000000-0000-4000-8000-000000000002")
    run.dir.mkdir(parents=True)
    (run.dir / "plan.json").write_text('{"created": 1}')
    with Journal(run.journal) as journal:
        for begin, end, loss in ((0, 9, 5.0), (4, 12, 2.0)):
            journal.append(Start(step=begin, config={}, parameters=9, vocab_size=3, steps=12, tokens_per_step=1,
                                 train_tokens=9, validation_tokens=0).to_dict())
            for n in range(begin + 1, end + 1):
                journal.append({"event": "step", "step": n, "time": 1.0, "loss": loss, "seconds": n, "tokens": n,
                                "learning_rate": 0.1, "gradient_norm": 1.0, "epoch": 0.1, "tokens_per_second": 10.0})
    feed = Feed(run, 1, lambda message: None)  # type: ignore[arg-type]
    delta = feed.gather()
    assert [(point.step, point.value) for point in delta.points] == [(n, 5.0 if n < 5 else 2.0) for n in range(1, 13)]
    assert delta.back == 0


def test_what_is_told_to_be_over_was_read_to_its_end(workspace: Workspace) -> None:
    class Ending(runs.Run):
        """It ends at the moment when it is asked how it stands."""

        def status(self) -> str:
            with Journal(self.journal) as journal:
                journal.append({"event": "end", "step": 9, "time": 2.0, "reason": "finished", "message": "",
                                "train_loss": None, "validation_loss": None, "tokens": 1, "seconds": 1.0})
            return super().status()

    run = Ending(workspace, "00000000-0000-4000-8000-000000000001")
    run.dir.mkdir(parents=True)
    (run.dir / "plan.json").write_text('{"created": 1}')
    with Journal(run.journal) as journal:
        journal.append({"event": "start", "step": 0, "time": 1.0, "steps": 9, "config": {}})
    deltas: list[Delta] = []

    def take(message: Message) -> None:
        assert isinstance(message, Followed)
        deltas.append(message.delta)
        feed.stop()

    feed = Feed(run, 1, take)
    feed.follow()
    assert [delta.status for delta in deltas] == ["finished"] and deltas[0].end and deltas[0].end["step"] == 9


def test_numbers_are_aligned_at_every_width() -> None:
    view = RunView("g", "name", "running", 2000, {"step": 500, "loss": 2.0, "seconds": 10.0, "tokens": 1e6,
                                                  "tokens_per_second": 1e5, "learning_rate": 1e-3, "gradient_norm": 1.0,
                                                  "epoch": 0.5}, 2.1, 2.0)
    for width in (26, 56, 76, 120):
        lines = numbers(view, width)
        assert all(sum(len(text) for text, _ in line) <= width for line in lines)
        text = "\n".join("".join(piece for piece, _ in line) for line in lines)
        assert "25%" in text and "30s left" in text and "2.1000" in text
    assert "30s left" in view.summary()
    assert Config.read(TINY).n_emb == 8
