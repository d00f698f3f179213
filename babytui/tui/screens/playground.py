"""The one screen: four panes side by side where there is room, else one at a time behind tabs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Button, Static

from babytui import actions
from babytui.tui import backend
from babytui.tui.bindings import bindings, hints, key_of
from babytui.tui.messages import (
    ChatAsked,
    CompareAsked,
    Failed,
    FinetuneAsked,
    FormAsked,
    InfoAsked,
    Listed,
    ModelsChanged,
    RunChanged,
    RunEnded,
    RunStarted,
    TrainAsked,
    WatchAsked,
)
from babytui.tui.panes.base import Pane
from babytui.tui.panes.chat import ChatPane
from babytui.tui.panes.config import ConfigPane
from babytui.tui.panes.models import ModelsPane
from babytui.tui.panes.training import TrainingPane
from babytui.tui.safe import plain
from babytui.tui.subject import Subject, Subjects
from babytui.tui.threads import after, after_refresh, in_thread
from babytui.tui.widgets.bars import KeyBar, TopBar

if TYPE_CHECKING:
    from babytui.runs import Run

PANES: tuple[type[Pane], ...] = (ConfigPane, TrainingPane, ModelsPane, ChatPane)
NAMES = ("config", "training", "models", "chat")
SMALLEST = (60, 18)
ALL_FROM = (120, 24)  # the smallest size that shows all panes
_FIRST = ("quit", "train", "maximise", "commands", "help", "bakeoff", "copy", "suspend")


def key_hints(all_fit: bool = True) -> list[tuple[str, str]]:
    """The keys that work everywhere, the most needed first. all_fit: whether the screen has room for all panes."""
    found: dict[str, str] = {}
    for node in ("app", "playground"):
        for key, text in hints(node):
            found.setdefault(text, key)  # the app's, which also hold while one types
    order = [actions.find(name).hint for name in _FIRST]
    if not all_fit:
        found.pop(actions.find("maximise").hint, None)
    order += [text for text in found if text not in order]
    return [(found[text], text) for text in order if text in found] + [("Tab", "next"), ("1-4", "panes")]


class PlaygroundScreen(Screen[None]):
    """Moves messages between the panes; every pane owns its own state."""

    AUTO_FOCUS = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide"), (160, "-broad")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-high"), (50, "-tall")]
    BINDINGS: ClassVar[list[BindingType]] = bindings("playground")

    def __init__(self) -> None:
        super().__init__(id="playground")
        self.current = "chat"
        self.maximised = False
        self.ready = False

    def compose(self) -> ComposeResult:
        yield TopBar([(name, pane.title) for name, pane in zip(NAMES, PANES, strict=True)])
        with Container(id="panes", classes="-tabs"):
            for pane in PANES:
                yield pane()
        yield KeyBar(key_hints())
        yield Static("", id="too-small", markup=False)

    def on_mount(self) -> None:
        self.query_one(TopBar).tell(current=self.current, workspace=str(self.workspace.root))
        self.action_show("chat")
        after_refresh(self, partial(after, self, 0.05, self._begin))

    @property
    def workspace(self) -> Any:
        return self.app.workspace  # type: ignore[attr-defined]

    @property
    def config(self) -> ConfigPane:
        return self.query_one(ConfigPane)

    @property
    def training(self) -> TrainingPane:
        return self.query_one(TrainingPane)

    @property
    def models(self) -> ModelsPane:
        return self.query_one(ModelsPane)

    @property
    def chat(self) -> ChatPane:
        return self.query_one(ChatPane)

    async def _begin(self) -> None:
        """After the first paint: everything that reads files or imports arrays, in threads."""
        for pane in (self.chat, self.models, self.training, self.config):
            await pane.begin()
        self.ready = True
        if self.focused is None:  # its pane was opened before it was built
            self.action_show(self.current)
        if self.app.chosen["tour"] and self.app.screen is self and not self.has_class("-small"):  # type: ignore[attr-defined]
            self.app.action_tour()  # type: ignore[attr-defined]

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        small = width < SMALLEST[0] or height < SMALLEST[1]
        self.set_class(small, "-small")
        if small:
            self.query_one("#too-small", Static).update(
                f"This terminal has {width}×{height} cells; babytui needs {SMALLEST[0]}×{SMALLEST[1]}. "
                f"Make it larger, or press {key_of('quit')}: runs go on.")
        self._arrange()
        if not small and self.ready and self.focused is None:  # what had the focus was hidden while it was small
            after_refresh(self, partial(self.action_show, self.current))

    @property
    def tabbed(self) -> bool:
        """Whether one pane is shown at a time."""
        return self.maximised or not self.all_fit

    @property
    def all_fit(self) -> bool:
        """Whether there is room for all panes."""
        return self.size.width >= ALL_FROM[0] and self.size.height >= ALL_FROM[1]

    def _arrange(self) -> None:
        """Shows all panes or the present one."""
        tabbed = self.tabbed
        self.query_one("#panes").set_class(tabbed, "-tabs")
        for name in NAMES:
            self.query_one(f"#{name}").display = not tabbed or name == self.current
        self.query_one(TopBar).tell(tabbed=tabbed, current=self.current)
        self.query_one(KeyBar).tell(key_hints(self.all_fit))

    def action_show(self, name: str) -> None:
        """Brings a pane to the front and gives it the keys, at once: the next key may be on its way."""
        self.current = name
        pane = self.query_one(f"#{name}", Pane)
        pane.display = True
        if not pane.has_focus_within:
            self.set_focus(pane.first_focus())  # before the other pane is hidden, or Textual looks for another focus
        self._arrange()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        pane = next((w for w in event.widget.ancestors if isinstance(w, Pane)), None)
        if pane is not None and pane.id and pane.id != self.current and event.widget.has_focus:
            self.current = pane.id
            self._arrange()

    def name_keys(self) -> None:
        """Writes the keys again, which have changed."""
        self.query_one(KeyBar).tell(key_hints(self.all_fit))
        for pane in self.query(Pane):
            pane.decorate()
        self.query_one(TopBar).name_keys()
        self.config.query_one("#train", Button).label = plain(f"Train ({key_of('train')})")

    def action_maximise(self) -> None:
        if not self.all_fit:
            self.notify(f"One pane is shown at a time here; a terminal of {ALL_FROM[0]}×{ALL_FROM[1]} shows all.",
                        timeout=4)
            return
        self.maximised = not self.maximised
        self._arrange()

    def action_train(self) -> None:
        self.config.ask_to_train()

    def subjects(self) -> Subjects:
        """The model that the chat talks to, else the chosen one."""
        if self.ready and self.chat.baby is not None:
            return [Subject(self.chat.guid, self.chat.baby.name)]
        if self.ready and (row := self.models.chosen) is not None:
            return [Subject(row.guid, row.name)]
        return f"There is no model to look into; {key_of('train')} makes one."

    def action_copy_command(self) -> None:
        """Offers what was done as command lines, and that of the form; the chosen one is copied."""
        from babytui.tui.screens.choose import ChooseScreen

        form = actions.command_line("train", self.config.arguments(), workspace=str(self.workspace.root))
        lines = list(dict.fromkeys([*self.app.done, form]))  # type: ignore[attr-defined]

        def copy(line: str | None) -> None:
            if line:
                self.app.copy_to_clipboard(line)
                self.notify(line, title="Copied", markup=False, timeout=8)

        self.app.push_screen(ChooseScreen("Copy as a command", lines, lines[0]), copy)

    def action_bakeoff(self) -> None:
        """The bake-off at work, else the last one, else the form of a new one."""
        from babytui.tui.screens.bakeoff import BakeOffScreen

        if self.ready and self.app.screen is self:
            self.app.push_screen(BakeOffScreen())

    @on(TopBar.Picked)
    def _picked(self, event: TopBar.Picked) -> None:
        self.action_show(event.pane)

    # --- messages of the panes --------------------------------------------------------------------

    @on(TrainAsked)
    def _train(self, event: TrainAsked) -> None:
        workspace, arguments = self.workspace, self.config.arguments()
        self.notify("Starting …", timeout=2)

        def work() -> None:
            run = backend.start(workspace, event.values, event.text, event.name, event.prompt)
            self.app.call_from_thread(self.app.did, "train", arguments)  # type: ignore[attr-defined]
            self.post_message(RunStarted(run))

        in_thread(self, work, "start")

    @on(RunStarted)
    def _started(self, event: RunStarted) -> None:
        self.training.attach(event.run, event.run.name, event.run.base_name)
        self.action_show("training")
        self.models.scan()
        self.config.read_again()

    @on(RunChanged)
    def _run_changed(self, event: RunChanged) -> None:
        self.query_one(TopBar).tell(status=event.summary)

    @on(RunEnded)
    def _ended(self, event: RunEnded) -> None:
        """A model that has just been made is the one to talk to, unless another is talking."""
        if self.models.deletes(event.guid):  # which says so itself
            return
        if event.status in ("finished", "stopped"):
            self.notify(f"{event.name} is {event.status} and can talk: {key_of('show chat')}.", markup=False)
            if not self.chat.writing:
                self.chat.load(event.guid, event.name)
        elif event.status == "deleted":
            self.notify(f"{event.name} was deleted; {key_of('undo')} among the models brings it back.", markup=False)
        else:
            pane = key_of("show training")
            then = (f"its process was killed or lost; {key_of('resume')} in its pane ({pane}) goes on where it was"
                    if event.status == "died" else f"the log ({pane}) says why")
            self.notify(f"{event.name} {event.status}: {then}.", severity="error", markup=False)

    @on(ModelsChanged)
    def _models_changed(self, event: Message) -> None:
        self.models.scan()
        self.config.read_again()

    @on(Listed)
    def _listed(self, event: Listed) -> None:
        self.training.listed(event.names, event.come, event.gone)
        self.chat.rename(event.names)

    @on(WatchAsked)
    def _watch(self, event: WatchAsked) -> None:
        self.training.watch_run(event.guid)
        self.app.did("attach", {"guid": event.guid})  # type: ignore[attr-defined]
        self.action_show("training")

    @on(ChatAsked)
    def _chat(self, event: ChatAsked) -> None:
        self.chat.load(event.guid, event.name)
        self.action_show("chat")

    @on(FormAsked)
    def _form(self, event: FormAsked) -> None:
        self.config.load_values(event.values, event.source)
        self.action_show("config")

    @on(FinetuneAsked)
    def _finetune(self, event: FinetuneAsked) -> None:
        from babytui.tui.screens.finetune import FinetuneScreen

        def begun(run: Run | None) -> None:
            if run is not None:
                self.post_message(RunStarted(run))

        self.app.push_screen(FinetuneScreen(event.guid, event.name), begun)

    @on(InfoAsked)
    def _info(self, event: InfoAsked) -> None:
        from babytui.tui.screens.info import InfoScreen

        self.app.push_screen(InfoScreen(self.workspace, event.guid))
        self.app.did("info", {"guid": event.guid})  # type: ignore[attr-defined]

    @on(CompareAsked)
    def _compare(self, event: CompareAsked) -> None:
        from babytui.tui.screens.compare import CompareScreen

        self.app.push_screen(CompareScreen(self.workspace, event.guids))

    @on(Failed)
    def _failed(self, event: Failed) -> None:
        severity: Any = event.severity
        self.notify(event.text, severity=severity, markup=False, timeout=8)
