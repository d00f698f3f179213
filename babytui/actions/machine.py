"""This machine, and the files on it."""

from __future__ import annotations

from babytui.actions.arguments import YES, assignments
from babytui.actions.kinds import CLI, SHELL, Action, Argument

BENCH = (
    Argument("work", ("--work",), "text", "what to measure: train, decode, prefill, load, save; without it everything",
             metavar="WORK", nargs="+", repeat=True),
    Argument("size", ("--size",), "text", "sizes of models: small, heads, large, newborn; without it all of them (with "
             "--variants, small)", metavar="NAME", nargs="+", repeat=True),
    Argument("variants", ("--variants",), "text", "attentions (each with mlp), networks (each with mha), pairs such as "
             "gla/swi, or all", metavar="NAME", nargs="+", repeat=True),
    Argument("repeats", ("--repeats",), "int", "processes that measure each figure, of which the median counts", 3,
             metavar="N", low=1, high=99),
    Argument("peer", ("--peer",), "path", "a Python that has torch: the same GPT, written plainly in PyTorch, takes "
             "turns with ours", metavar="PYTHON"),
    Argument("peer_script", ("--peer-script",), "path", "another program for that Python to run, called as ours is: F "
             "train|decode --n_ctx N --n_emb N --n_heads N --n_layers N --batch_size N --threads N --steps N; its last "
             "line is JSON with peer and tokens_per_s", metavar="F"),
    assignments("n_ctx=128"),
)

DOCTOR = (
    "Looks for what crashes, disks and other programs leave in a workspace: temporary files, torn journals, damaged "
    "files, half-deleted models, parts of models, runs that died, files that are not ours. --repair moves what is in "
    "the way to the trash (`babytui trash restore` brings it back), and touches neither what a live process uses nor "
    "what is not ours. Exit code 1 when babytui cannot work here or something could not be repaired.")

ACTIONS: tuple[Action, ...] = (
    Action("bench", "measure how fast this machine trains, writes, loads and saves", "babytui.cli.bench:run", BENCH,
           where=(CLI, SHELL),
           details="Medians over fresh processes; ratios above 1 mean that ours is faster than the peer. memory is the "
                   "peak resident memory of the training processes, and its share of the peer's. products is the "
                   "processor time of a training step in one process, and how many times that is what its matrix "
                   "products alone take. Standard output gets the table (with --json a list of objects), everything "
                   "else goes to standard error."),
    Action("settings", "show and change what is kept for good: colours, keys, sampler", "babytui.cli.preferences:run",
           (Argument("name", kind="setting", metavar="NAME", nargs="?", help="the setting, such as theme, or "
                     "keys.pause for the keys of an action; without it all of them"),
            Argument("value", kind="setting_value", metavar="VALUE", nargs="?", help="its new value"),
            Argument("reset", ("--reset",), "flag", "back to the default; without a name, all settings"),
            Argument("path", ("--path",), "flag", "print where the settings file is")),
           key="comma", app="app.settings",
           details="Every setting is overridden by an environment variable (theme by BABYTUI_THEME, "
                   "sampler.temperature by BABYTUI_SAMPLER_TEMPERATURE; BABYTUI_KEYS='pause=P; stop=f8'), "
                   "and the file's place by BABYTUI_SETTINGS. The command line comes before the environment, the "
                   "environment before the file."),
    Action("serve", "open the playground to a browser", "babytui.cli.serve:run",
           (Argument("host", ("--host",), "text", "the address to listen at; any but this machine's own is reached by "
                     "others, and gets a secret", "127.0.0.1", metavar="ADDRESS"),
            Argument("port", ("--port",), "int", "the port; 0 takes a free one", 8000, metavar="N", low=0, high=65535),
            Argument("secret", ("--secret",), "flag", "put a secret into the address on this machine, too: others "
                     "who are logged in cannot open it then")),
           where=(CLI,),
           details="Needs textual-serve (pip install 'babytui[serve]'). Every page that is opened is a playground of "
                   "its own on the same workspace. It listens on this machine only, unless --host says otherwise; then "
                   "the address holds a secret, and what is sent is not encrypted. Standard output gets the address."),
    Action("doctor", "check this machine and the workspace, and repair it", "babytui.cli.doctor:run",
           (Argument("repair", ("--repair",), "flag", "mend the workspace's files, after saying what will be done"),
            Argument("deep", ("--deep",), "flag", "read every model and checkpoint whole"), YES), details=DOCTOR),
)
