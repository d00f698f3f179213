"""`mpirun -n N babytui train` with real ranks: the bytes of one process, and what becomes of signals and deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import mpirun
import pytest
from mpirun import Command
from outcome import outcome
from waiting import until

from babytui import finetuning, runs
from engine import events
from engine.adaptation import Adaptation
from engine.config import Config
from store.lock import Lock
from store.workspace import Workspace

slow = pytest.mark.slow
# four lanes; a word or two of everything that keeps a state
BASE = {"n_layers": 1, "n_emb": 16, "head_size": 16, "n_heads": 2, "n_ctx": 32, "batch_size": 48, "n_steps": 40,
        "r_dropout": 0.1, "c_shuffle": True, "s_checkpoint_steps": 5, "c_device_cpu_cores": 1}
LONG = {**BASE, "n_steps": 400}
TEXT = "".join(f"The cat sat on mat {i % 7}. The dog saw the cat and ran {'far ' * (i % 3)}away.\n" for i in range(300))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "cats.txt"
    path.write_text(TEXT)
    return path


def train(folder: Path, ranks: int, text: Path, values: dict) -> Command:
    folder.mkdir(exist_ok=True)
    settings = [word for name, value in values.items() for word in ("--set", f"{name}={str(value).lower()}")]
    return Command(folder, ranks, "train", "--input", text, "--name", "tiny", "--prompt", "The", *settings)


def alone(folder: Path, text: Path, values: dict) -> runs.Run:
    """The same in one process, finished."""
    run = runs.start(Workspace(folder / "w"), Config.read(values), [text], name="tiny", prompt="The")
    assert run.wait(90) == "finished"
    return run


def run_of(command: Command) -> runs.Run:
    """Its run, as soon as there is one."""
    workspace = Workspace(command.workspace)
    return until(lambda: runs.all_runs(workspace), "a run")[0]


def at_step(command: Command, step: int) -> runs.Run:
    """Its run, as soon as it has made so many steps."""
    run = run_of(command)
    until(lambda: any(isinstance(event, events.Step) and event.step >= step for event in run.last_events(500)),
          f"step {step}: {command.said}")
    return run


def other_rank(command: Command, run: runs.Run) -> int:
    """The process of a rank but 0."""
    return next(pid for pid in command.pids() if pid != Lock.owner(run.dir / "lock"))


def curve(run: runs.Run) -> list[tuple]:
    """Losses and norms of all steps."""
    return [(e.step, e.loss, e.gradient_norm, e.learning_rate) for e in run.events()[0] if isinstance(e, events.Step)]


def results(run: runs.Run) -> dict[str, bytes]:
    return outcome(run.workspace, run.guid)


@mpirun.needed
@pytest.mark.parametrize(("ranks", "d_type"), [
    (2, "fp32"), pytest.param(1, "fp32", marks=slow), pytest.param(3, "fp32", marks=slow),
    pytest.param(3, "fp16", marks=slow), pytest.param(2, "fp64", marks=slow)])
def test_the_curve_and_the_files_are_those_of_one_process(tmp_path, text, ranks, d_type):
    values = {**BASE, "d_type": d_type}
    command = train(tmp_path / "a", ranks, text, values)
    assert command.wait() == 0, command.said
    run, one = run_of(command), alone(tmp_path / "b", text, values)
    assert run.status() == "finished" and run.guid in command.said
    assert len(curve(one)) == 40 and curve(run) == curve(one)
    assert results(run) == results(one)
    start = next(event for event in run.events()[0] if isinstance(event, events.Start))
    assert start.ranks == ranks and (f"{ranks} ranks on {start.hosts}" in command.said) == (ranks > 1)
    assert not [path for path in (run.dir / "checkpoints").iterdir() if path.name.startswith(".")]


@mpirun.needed
def test_a_killed_rank_ends_all_and_the_run_goes_on_with_any_number(tmp_path, text):
    command = train(tmp_path / "a", 3, text, LONG)
    run = at_step(command, 11)
    os.kill(other_rank(command, run), signal.SIGKILL)
    assert command.wait() != 0
    until(lambda: not command.pids(), "the end of all ranks")
    assert run.status() in ("failed", "died") and not run.workspace.entry(run.guid).has_model
    assert "babytui: " in command.said and "Traceback" not in command.said
    if run.status() == "failed":  # the launcher left rank 0 the time to see it
        end = run.last_events(1)[0]
        assert "died" in end.message and end.message in command.said and end.message.count(". ") == 0
        assert any(path.name == f"step_{end.step:09}.safetensors" for path in (run.dir / "checkpoints").iterdir())
    again = Command(tmp_path / "a", 2, "resume", run.guid)
    assert again.wait() == 0, again.said
    assert run.status() == "finished"
    assert results(run) == results(alone(tmp_path / "b", text, LONG))


@mpirun.needed
@slow
def test_a_run_whose_rank_0_was_killed_goes_on_without_ranks(tmp_path, text):
    command = train(tmp_path / "a", 2, text, LONG)
    run = at_step(command, 11)
    os.kill(Lock.owner(run.dir / "lock"), signal.SIGKILL)
    assert command.wait() != 0
    until(lambda: not command.pids(), "the end of all ranks")
    assert run.status() == "died"
    run.resume()
    assert run.wait(90) == "finished"
    assert results(run) == results(alone(tmp_path / "b", text, LONG))


@mpirun.needed
def test_commands_reach_all_ranks_at_the_same_step(tmp_path, text):
    command = train(tmp_path / "a", 2, text, LONG)
    run = at_step(command, 5)
    run.command("pause")
    assert run.wait_for("paused", timeout=30) == "paused"
    before = len(curve(run))
    run.command("learning_rate", 0.002)
    run.command("resume")
    until(lambda: len(curve(run)) > before + 3, "more steps")
    run.command("stop")
    assert command.wait() == 0, command.said
    assert run.status() == "stopped" and run.workspace.entry(run.guid).has_model
    steps = len(curve(run))
    assert before < steps < 400
    # one process that is given the rate at that step
    rate = next(e for e in run.events()[0] if isinstance(e, events.Control) and e.command == "learning_rate")
    assert curve(run)[rate.step][3] == pytest.approx(0.002)
    run.resume()
    assert run.wait(90) == "finished"
    again = Command(tmp_path / "a", 2, "resume", run.guid)
    assert again.wait() != 0 and "is finished" in again.said


@mpirun.needed
@pytest.mark.parametrize("whom", ["rank", pytest.param("launcher", marks=slow)])
def test_a_signal_stops_all_ranks(tmp_path, text, whom):
    command = train(tmp_path / "a", 2, text, LONG)
    run = at_step(command, 11)
    if whom == "rank":
        os.kill(other_rank(command, run), signal.SIGTERM)
    else:  # as ctrl+c does
        os.kill(command.process.pid, signal.SIGINT)
    code = command.wait()
    until(lambda: not command.pids(), "the end of all ranks")
    if whom == "rank" or not mpirun.is_open_mpi():  # Open MPI passes nothing on and kills a fraction of a second later
        assert "stops and keeps its model" in command.said or whom == "rank", command.said
        assert code == 0 and run.status() == "stopped" and run.workspace.entry(run.guid).has_model
    assert run.status() in ("stopped", "died") and len(curve(run)) < 400
    run.resume()
    assert run.wait(90) == "finished"
    assert results(run) == results(alone(tmp_path / "b", text, LONG))


@mpirun.needed
@slow
def test_fine_tuning(tmp_path, text):
    base = alone(tmp_path / "a", text, BASE)
    other = tmp_path / "owls.txt"
    other.write_text(TEXT.replace("cat", "owl") * 2)
    words = ["--input", other, "--lora", 2, "--set", "n_steps=20", "--name", "owl", "--prompt", "The"]
    command = Command(tmp_path / "a", 2, "finetune", base.guid, *words)
    assert command.wait() == 0, command.said
    tuned = runs.find(base.workspace, "owl")
    opened = finetuning.open_base(base.guid, base.workspace)
    prepared = finetuning.prepare(opened, base.workspace, [str(other)], changes={"n_steps": 20},
                                  adaptation=Adaptation(rank=2), name="owl-2", prompt="The")
    one = finetuning.start(base.workspace, prepared)
    assert one.wait(90) == "finished"
    assert curve(tuned) == curve(one) and len(curve(one)) == 20
    assert results(tuned)["model"] == results(one)["model"] and results(tuned)["adapter"] == results(one)["adapter"]


@mpirun.needed
def test_more_ranks_than_lanes(tmp_path, text):
    command = train(tmp_path / "a", 2, text, {**BASE, "batch_size": 12})
    assert command.wait() == 2
    assert "2 ranks were started, but a batch of this size is cut into 1 lane" in command.said
    assert not (tmp_path / "a" / "w" / "runs").exists()


# Without a launcher: a process that was told its rank -----------------------------------------------------------------


def told(tmp_path: Path, rank: int, *words: str, missing: bool) -> subprocess.CompletedProcess[str]:
    """A command that believes to be a rank of 3. missing: mpi4py cannot be imported."""
    folder = tmp_path / "hidden"
    folder.mkdir(exist_ok=True)
    if missing:
        (folder / "mpi4py.py").write_text("raise ModuleNotFoundError('hidden by a test', name='mpi4py')\n")
    environment = mpirun.environment(PMI_RANK=str(rank), PMI_SIZE="3",
                                     PYTHONPATH=os.pathsep.join([str(folder), mpirun.ROOT]))
    return subprocess.run([sys.executable, "-m", "babytui", *words, "--workspace", str(tmp_path / "w")],
                          capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)


def test_without_mpi4py_rank_0_says_what_to_install(tmp_path, text):
    said = told(tmp_path, 0, "train", "--input", str(text), missing=True)
    assert said.returncode == 2 and said.stderr.count("\n") == 1
    assert "3 ranks were started" in said.stderr and "pip install 'babytui[mpi]'" in said.stderr
    other = told(tmp_path, 1, "train", "--input", str(text), missing=True)
    assert (other.returncode, other.stdout, other.stderr) == (0, "", "")
    assert not (tmp_path / "w").exists()


def test_what_a_signal_is_answered_with_has_marks_for_control_characters(tmp_path):
    code = "from babytui import ranks; ranks._say('\\x1b[2J stops', 2)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, env=mpirun.environment(), cwd=tmp_path,
                          start_new_session=True)  # without a terminal
    assert said.returncode == 0 and b" stops\n" in said.stderr and b"\x1b" not in said.stderr


def test_other_verbs_do_not_care_for_ranks(tmp_path):
    said = told(tmp_path, 0, "runs", "--json", missing=True)
    assert (said.returncode, said.stdout.strip()) == (0, "[]")


@mpirun.needed
def test_an_mpi_that_is_not_the_launchers(tmp_path, text):
    said = told(tmp_path, 0, "train", "--input", str(text), missing=False)
    assert said.returncode == 2 or "MPI" in said.stderr, said.stderr
