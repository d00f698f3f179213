"""babytui bench"""

from __future__ import annotations

import time
from typing import Any

from babytui import bench
from babytui.bench import Bench, Row
from babytui.cli.output import Output, seconds, size, table
from babytui.cli.settings import assignments
from engine.errors import UsageError

_BUSY = 0.15  # cores, from which on figures are not to be trusted


def run(arguments: Any) -> int:
    """Measure this machine: 0, or 1 when the peer failed on the way."""
    out: Output = arguments.out
    wanted = bench.works(arguments.work or [])
    chosen = bench.cases(arguments.size or [], arguments.variants or [], assignments(arguments))
    if arguments.peer_script and not arguments.peer:
        raise UsageError("--peer-script is what --peer runs; give both.")
    peer = None
    if arguments.peer:
        out.line("asking the peer what it can do…")
        try:
            peer = bench.Peer.find(arguments.peer, arguments.peer_script)
        finally:
            out.clear()
        left = [work for work in wanted if work not in peer.modes]
        if left:
            out.say(f"The peer cannot do {', '.join(left)}; ours stands alone there.")
        if any(not case.comparable for case in chosen):
            out.say("The peer's model is mha with mlp, pre-norm in fp32 without dropout; what differs stands alone.")
    begun = time.monotonic()

    def tell(what: str) -> None:
        out.line(f"{measured.done + 1} of {measured.total}, {seconds(time.monotonic() - begun)}: {what}")

    measured = Bench(chosen, wanted, arguments.repeats, peer, tell=tell, alarm=out.alarm)
    out.say(f"{_machine(bench.machine())}. Measurements, one after the other: {measured.total}; leave the machine "
            "alone meanwhile.")
    if (busy := bench.others()) > _BUSY:
        out.alarm(f"Other processes keep {busy:.1f} cores busy; the figures will be too low, most of all a peer's that "
                  "uses threads.")
    rows: list[Row] = []
    try:
        for row in measured.rows():
            rows.append(row)
            out.say(" ".join(part for part in _cells(row) if part))
    finally:  # also when it is interrupted: what is measured is measured
        out.clear()
        if rows:
            _deliver(rows, out)
    return 1 if measured.peer_failed else 0


def _deliver(rows: list[Row], out: Output) -> None:
    if out.json:
        out.data([{**row, "machine": bench.machine()} for row in rows])
        return
    lines = [("WORK", "SIZE", "OURS", "PEER", "RATIO", ""), *map(_cells, rows)]
    if not any(row["peer"] for row in rows):
        lines = [line[:3] + line[4:] for line in lines]
    out.print(_machine(bench.machine()))
    for peer in dict.fromkeys(row["peer_name"] for row in rows if row["peer_name"]):
        out.print(f"peer: {peer}")
    out.print()
    for line in table(lines, right=range(2, len(lines[0]) - 1)):
        out.print(line)


def _machine(found: dict[str, Any]) -> str:
    coretype = found["openblas_coretype"] or "not set"
    return (f"{found['processor']}, {found['cores']} cores, {found['blas']} (OPENBLAS_CORETYPE {coretype}), "
            f"Python {found['python']}, NumPy {found['numpy']}")


def _cells(row: Row) -> tuple[str, ...]:
    ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else ""
    return (row["work"], row["case"], _amount(row["ours"], row["unit"]), _amount(row["peer"], row["unit"]), ratio,
            _words(row))


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "bytes":
        return size(value)
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _words(row: Row) -> str:
    """What the ratio says."""
    if row["work"] == "products":
        return (f"× its matrix products, {_amount(row['products_seconds'], 's')} at "
                f"{row['flops_per_second'] / 1e9:.3g} GFLOP/s, in one process")
    if row["ratio"] is None:
        return ""
    return "of the peer's" if row["work"] == "memory" else "times as fast"
