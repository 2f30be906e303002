"""The figures of ``recsys bench serve`` as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

Figures = dict[str, Any]

PROMISED = "server, 1000/s"
TWO = "2 workers, 1000/s"
STAGES = ("look_up", "retrieve", "rank", "slate", "encode")
"""That a server tells of."""
SHOWN = ("look_up", "retrieve", "featurise", "rank", "slate", "encode")
IN_BRIEF = (
    "CPU of a computed answer / echo",
    "capacity / echo",
    "promise",
    "goodput at twice the capacity / capacity",
    "events at 500/s",
    "memory in no file",
    "start to serving",
    "indexes",
)
BEYOND = "server, 200% of capacity"
STEADY, STEADY_EVENTS = "state, steady", "state, steady and events"


def lines(result: Figures) -> list[str]:
    """A table for each bundle, and what follows from it; every figure is the median of the rounds."""
    effort = f"median of {result['rounds']} rounds of {result['seconds']:g} s"
    return [line for table in result["tables"] for line in (*_table(table, effort), "")]


def _table(table: Figures, effort: str) -> list[str]:
    size = f"{table['users']:,} users, {table['items']:,} items, {table['factors']} factors"
    rounds = table["rounds"]
    return [
        f"{size}; {effort}",
        "",
        "| load | asked /s | good /s | p50 ms | p95 | p99 | p99.9 | refused or late | degraded | CPU us |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(name, [one[name] for one in runs]) for runs in (rounds, table["pairs"]) for name in runs[0]),
        "",
        *(f"- {name}: {text}" for name, text in summary(table).items()),
    ]


def summary(table: Figures) -> dict[str, str]:
    """What the promise is judged by, in words."""
    rounds, pairs = table["rounds"], table["pairs"]

    def ratio(one: str, other: str, of: Callable[[Figures], float], runs: list[Figures] = rounds) -> str:
        return f"{_median(of(each[one]) / max(of(each[other]), 1e-9) for each in runs):.2f}"

    closed, echo_closed, bare_closed = "server, closed, known users", "echo, closed", "bare echo, closed"
    many, echo_many = "server, 64 calls, known users", "echo, 64 calls"
    calls = [calls for one in (*rounds, *pairs) for calls in one.values()]
    wrong, strangers = (sum(each.get(name, 0) for each in calls) for name in ("wrong", "not_their_own"))
    indexes = ", ".join(
        f"{name} {index['factory']}{_looked_at(index)} (recall@200 {index['recall']:.3f})"
        for name, index in table["bundle"]["indexes"].items()
    )
    return {
        "CPU of a computed answer / echo": f"{ratio(closed, echo_closed, _cpu)} at full load,"
        f" {ratio(many, echo_many, _cpu)} with 64 calls under way, {ratio(PROMISED, 'echo, 1000/s', _cpu)} at 1,000/s;"
        f" / bare echo, which takes calls as the server does:"
        f" {ratio(closed, bare_closed, _cpu)}, {ratio(PROMISED, 'bare echo, 1000/s', _cpu)}",
        "capacity / echo": f"{ratio(closed, echo_closed, _whole)},"
        f" {_median(_whole(one[closed]) for one in rounds):,.0f} answers a second"
        f" for {_median(_whole(one[echo_closed]) for one in rounds):,.0f};"
        f" {ratio(many, echo_many, _whole)} with 64 calls; / bare echo: {ratio(closed, bare_closed, _whole)},"
        f" for {_median(_whole(one[bare_closed]) for one in rounds):,.0f}",
        "promise": f"p99 at 1,000/s {_median(_p99(one[PROMISED]) for one in rounds):.0f} ms by one server,"
        f" {_median(_p99(one[TWO]) for one in rounds):.0f} ms by two workers;"
        f" refused or late {_median(_missed(one[PROMISED]) for one in rounds):.2%};"
        f" of what is answered at twice the capacity {_median(_p99(one[BEYOND]) for one in rounds):.0f} ms",
        "goodput at twice the capacity / capacity": ratio(BEYOND, "server, closed", _good),
        "events at 500/s": f"p99 x {ratio(STEADY_EVENTS, STEADY, _p99, pairs)},"
        f" CPU x {ratio(STEADY_EVENTS, STEADY, _cpu, pairs)}, of {len(pairs)} pairs; kept {_kept(pairs):.2%} of them",
        "memory in no file": ", ".join(
            f"{name.replace('_', ' ')} {mib:g} MiB" for name, mib in table["pss_anon_mib"].items()
        ),
        "start to serving": f"{median(table['start_seconds']):g} s, loops compiled and files in memory",
        "indexes": f"{indexes}; places that differ from exact search:"
        f" {table['bundle']['places_that_differ_from_exact']:.1%}",
        "slates read": f"{sum(each['ok'] for each in calls if 'wrong' in each):,}, not as they should be: {wrong},"
        f" not the user's own: {strangers} of {sum(each.get('asked_again', 0) for each in calls):,} asked again",
        "stages, us of an answer at full load": stages(
            [one[closed] for one in rounds], table["bundle"]["share_of_features_in_rank"]
        ),
    }


def brief(table: Figures) -> list[str]:
    """Of a further bundle what differs most."""
    told = summary(table)
    return [f"- {table['factors']} factors, {name}: {told[name]}" for name in IN_BRIEF]


def is_sound(result: Figures) -> bool:
    """Whether every load was answered, each slate that was read as it should be, and the user's own."""
    turns = [one for table in result["tables"] for one in (*table["rounds"], *table["pairs"])]
    runs = [calls for one in turns for calls in one.values()]
    return all(run["ok"] and not run.get("wrong") and not run.get("not_their_own") for run in runs)


def stages(runs: list[Figures], features: float) -> str:
    """Microseconds that each stage takes of an answer; waiting is no work.

    And the CPU time of the process that answers, which does more than the stages, and of the one that speaks gRPC.

    Args:
        runs: of one load.
        features: their share of the stage that ranks.
    """
    took = {
        name: _median(run["stage_seconds"][name] / max(run["answered"], 1) * 1e6 for run in runs) for name in STAGES
    }
    whole, ranking = sum(took.values()), took["rank"]
    parts = took | {"featurise": features * ranking, "rank": ranking - features * ranking}
    told = ", ".join(f"{name} {parts[name]:.0f}" for name in SHOWN)
    front = _median(run["started_cpu_us"] for run in runs)
    own = _median(run["cpu_us"] - run["started_cpu_us"] for run in runs)
    return f"{told}: {whole:.0f} together; CPU of the process that answers {own:.0f}, of its front {front:.0f}"


def _row(name: str, runs: list[Figures]) -> str:
    quantiles = [_median(_quantile(run, each) for run in runs) for each in ("p50", "p95", "p99", "p99.9")]
    cells = [
        f"{_median(run['sent'] / run['seconds'] for run in runs):,.0f}",
        f"{_median(run['goodput_per_second'] for run in runs):,.0f}",
        *(f"{each:.1f}" for each in quantiles),
        f"{_median(map(_missed, runs)):.1%}",
        f"{_median(run.get('degraded_share', 0.0) for run in runs):.1%}",
        f"{_median(run['cpu_us'] for run in runs):,.0f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _cpu(run: Figures) -> float:
    """Of an answer that is whole: what degraded ones cost counts as well. Infinite where none is whole."""
    whole = 1.0 - float(run.get("degraded_share", 0.0))
    return float(run["cpu_us"]) / whole if whole else math.inf


def _whole(run: Figures) -> float:
    return float(run["whole_per_second"] if "whole_per_second" in run else run["answered_per_second"])


def _good(run: Figures) -> float:
    """Answers a second that came in time and are whole."""
    return float(run["goodput_per_second"]) * (1.0 - float(run.get("degraded_share", 0.0)))


def _missed(run: Figures) -> float:
    """Share of the calls that were refused, lost, or answered too late."""
    return 1.0 - float(run["good"]) / max(float(run["sent"]), 1.0)


def _kept(pairs: list[Figures]) -> float:
    """Share of the events that the server said it has kept."""
    records = [pair[STEADY_EVENTS]["records"] for pair in pairs]
    kept, sent = (float(sum(each[name] for each in records)) for name in ("kept", "events"))
    return kept / max(sent, 1.0)


def _p99(run: Figures) -> float:
    return _quantile(run, "p99")


def _quantile(run: Figures, name: str) -> float:
    """Of the latencies of what was answered, ms; infinite where nothing was."""
    found = run["ms"][name]
    return math.inf if found is None else float(found)


def _median(values: Iterable[float]) -> float:
    return float(median(values))


def _looked_at(index: Figures) -> str:
    """How many of the items are searched, where not all are."""
    clusters = f", {index['clusters']} clusters" if index["clusters"] else ""
    return f" of {index['searched']:,} items a query{clusters}" if index["searched"] else ""
