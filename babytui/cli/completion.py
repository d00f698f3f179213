"""Completion in a person's own shell: the script that `babytui completion` prints, and what it asks for.

The script hands over the line as it was typed, up to the cursor, to `babytui complete` (which no list shows) and gets
lines back: a value and, for shells that show such, a few words about it. Neither side ever runs or expands what is
typed or what the workspace holds; values that could not be shown as they are, are left out. No arrays are read.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from babytui.actions import CLI
from babytui.commandline import words
from babytui.completion import Completer, Completion, place, unquoted
from engine.errors import BabyError

FILES = 3  # the exit code that says: names of files fit, too
PROGRAM = "babytui"
LONGEST_META = 60
LONGEST_LINE = 100_000
_PLAIN = re.compile(r"[\w%+=:,./@-]")
_ASSIGNMENT = re.compile(r"\w+\+?=")

BASH = r"""# bash completion of babytui
_babytui() {
    local program answer line
    program=$(type -P -- "${COMP_WORDS[0]}") || program=babytui
    COMPREPLY=()
    answer=$("$program" complete bash "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    [[ $? -eq 3 ]] && compopt -o bashdefault -o default 2>/dev/null
    while IFS= read -r line; do
        [[ -n $line ]] && COMPREPLY+=("$line")
    done <<< "$answer"
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o nosort -F _babytui babytui 2>/dev/null || complete -F _babytui babytui
"""

ZSH = r"""#compdef babytui
_babytui() {
    local program answer value about code found=1
    local -a values shown begun begun_shown
    program=${commands[${words[1]}]:-babytui}
    [[ ${words[1]} == */* && -x ${words[1]} ]] && program=${words[1]}
    answer=$("$program" complete zsh "${(j: :)words[1,CURRENT-1]} $QIPREFIX$IPREFIX$PREFIX" 2>/dev/null)
    code=$?
    while IFS=$'\t' read -r value about; do
        [[ -n $value ]] || continue
        if [[ $value == *= ]]; then
            begun+=("$value") begun_shown+=("$value${about:+  -- $about}")
        else
            values+=("$value") shown+=("$value${about:+  -- $about}")
        fi
    done <<< "$answer"
    local match='m:{a-zA-Z}={A-Za-z} l:|=* r:|=*'
    (( ${#values} )) && compadd -V values -l -M "$match" -d shown -a -- values && found=0
    (( ${#begun} )) && compadd -V begun -l -M "$match" -S '' -d begun_shown -a -- begun && found=0
    if [[ $code -eq 3 ]]; then
        [[ $PREFIX == --*=* ]] && compset -P '--*='
        _files && found=0
    fi
    return found
}
if [[ ${funcstack[1]} == _babytui ]]; then
    _babytui "$@"
else
    compdef _babytui babytui
fi
"""

FISH = r"""# fish completion of babytui
function __babytui_complete
    set -l program (commandline -opc)[1]
    type -qf -- $program; or set program babytui
    command $program complete fish (commandline -cp | string collect) 2>/dev/null
    if test $status -eq 3
        set -l token (commandline -ct)
        set -l head (string match -r -- '^--[^=]*=' $token)
        set -l rest (string replace -r -- '^--[^=]*=' '' $token)
        for path in (complete -C "'' $rest")
            echo -- "$head$path"
        end
    end
end
complete -c babytui -f -k -a '(__babytui_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def run(arguments: Any) -> int:
    """babytui completion: print the script."""
    sys.stdout.write(SCRIPTS[arguments.for_shell])
    return 0


def complete(given: Sequence[str]) -> int:
    """babytui complete SHELL LINE [WORD]: print what can be typed at the end of the line, one a line. WORD: what bash
    takes for the word, and replaces. Exit code FILES where names of files fit too. Whatever is wrong, nothing is
    said: somebody is typing."""
    found = Answer()
    with suppress(BabyError, OSError, ValueError):
        if len(given) in (2, 3) and given[0] in SCRIPTS and len(given[1]) <= LONGEST_LINE:
            found = answer(*given)
    with suppress(OSError):
        if hasattr(sys.stdout, "reconfigure"):  # names are in any script, whatever the locale says
            sys.stdout.reconfigure(encoding="utf-8")
        sys.stdout.write("".join(line + "\n" for line in found.lines))
        sys.stdout.flush()
    return FILES if found.files else 0


@dataclass(frozen=True)
class Answer:
    """What a script gets: lines, and whether the shell shall add the names of files."""

    lines: tuple[str, ...] = ()
    files: bool = False


def answer(shell: str, line: str, word: str = "") -> Answer:
    """What can be typed at the end of a shell's line, for that shell."""
    rest = _arguments(line)
    if rest is None:
        return Answer()
    here = place(rest, len(rest), CLI)
    completer = Completer(_workspace(rest), CLI, files=False)
    offered = [(here.word.text[: one.start - here.word.start] + unquoted(one.text), one)
               for one in completer.complete(rest)] if not here.word.quoted else [
                   (unquoted(one.text), one) for one in completer.complete(rest)]
    if here.argument is not None and not here.word.text:  # options are offered when they are begun
        named = [pair for pair in offered if not pair[0].startswith("-")]
        offered = named or ([] if completer.takes_files(rest) else offered)
    begun = [pair for pair in offered if pair[0].startswith(here.word.text)]
    offered = begun or (offered if shell != "bash" or len(offered) == 1 else [])
    lines = [written for value, one in offered if value.isprintable() and (written := _written(
        shell, value, one, rest, word))]
    return Answer(tuple(lines), completer.takes_files(rest))


def _arguments(line: str) -> str | None:
    """The line without what stands before the program's arguments; None when those have not begun."""
    found = words(line)
    before = [one for one in found if not _ASSIGNMENT.match(one.text)]
    named = [one for one in before if os.path.basename(one.text) == PROGRAM] or before[:1]
    return line[named[0].end:] if named and named[0].end < len(line) else None


def _workspace(rest: str) -> Any:
    """The workspace that the line names, else the usual one."""
    from babytui import workspace_choice

    given = [word.text for word in words(rest)[:-1]]
    for index, text in enumerate(given):
        if text == "--workspace" and given[index + 1:]:
            return workspace_choice.choose(given[index + 1])
        if text.startswith("--workspace="):
            return workspace_choice.choose(text.partition("=")[2])
    return workspace_choice.choose()


def _written(shell: str, value: str, one: Completion, rest: str, word: str) -> str:
    """A completion as a shell's script wants it; empty when that shell cannot take it."""
    if shell != "bash":
        about = one.meta if len(one.meta) <= LONGEST_META else one.meta[: LONGEST_META - 1].rstrip() + "…"
        return f"{value}\t{about}"
    return for_bash(rest, value, word)


def for_bash(line: str, value: str, word: str) -> str:
    """What bash shall put in the place of `word`, the end of the line, so that the line's last word means `value`: the
    quotes that are open there stay open."""
    cut = len(line) - len(word) if line.endswith(word) else len(line)
    last = words(line[:cut])[-1]  # what stays of the last word
    if not value.startswith(last.text):
        return ""
    rest = value[len(last.text):]
    if last.quote in ("'", '"'):  # bash closes the quotation, unless the text ends as if it were closed
        escaped = rest.replace("'", "'\\''") if last.quote == "'" else \
            re.sub(r'["\\$`]', r"\\\g<0>", rest).replace("!", '"\'!\'"')
        return escaped + (last.quote if escaped.endswith(last.quote) else "")
    return "".join(sign if _PLAIN.match(sign) else "\\" + sign for sign in rest)
