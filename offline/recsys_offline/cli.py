"""``recsys``: the command line of the offline jobs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from recsys.arguments import count
from recsys.errors import RecsysError
from recsys.types import EventType, ExcludePolicy

TYPES = tuple(event_type.word for event_type in EventType)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line that says what to do."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 bad data or a failed job, 2 wrong use, 130 interrupted."""
    arguments = build_parser().parse_args(argv)
    # Threads that wait must sleep: beside other work, spinning ones make a short training ten times longer.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return _run(arguments)
    except RecsysError as error:
        return _fail(str(error))
    except BrokenPipeError:
        _say_no_more()
        return 0
    except OSError as error:
        if error.filename is None:  # perhaps where the output goes
            _say_no_more()
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}")
    except MemoryError:
        return _fail("out of memory; use a machine with more, or fewer factors and a shorter history")
    except KeyboardInterrupt:
        return _fail("interrupted; what was complete is kept", status=130)


def _say_no_more() -> None:
    """Let go of what could not be written: Python would try again at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, status: int = 1) -> int:
    print(f"recsys: {' '.join(message.split())}", file=sys.stderr)
    return status


def _run(arguments: argparse.Namespace) -> int:
    """The command's function, imported when it is needed: a job's libraries take seconds, ``--help`` should not."""
    from recsys_offline import commands  # noqa: PLC0415

    function: Any = getattr(commands, arguments.function)
    status: int = function(arguments)
    sys.stdout.flush()  # here, where it is told if nobody reads, or the disk is full
    return status


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = Parser(prog="recsys", description="Trains and evaluates two-stage recommenders for online shops.")
    parser.add_argument("--version", action="version", version=f"recsys {version('recsys')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _import(commands)
    _data(commands)
    _models(commands)
    _bench(commands)
    _demo(commands)
    return parser


def _command(commands: Any, name: str, function: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(function=function)
    return parser


def _import(commands: Any) -> None:
    """``recsys import online-retail | retailrocket | table``."""
    text = "Turn a shop's files into a dataset directory."
    parser = commands.add_parser("import", help=text, description=text)
    formats = parser.add_subparsers(required=True, metavar="FORMAT", parser_class=Parser)
    sources = {
        "online-retail": ("FILE", "UCI Online Retail: invoice lines as csv, xlsx or parquet."),
        "retailrocket": ("DIR", "Retailrocket: events, item properties and category tree, or the events alone."),
        "table": ("FILE", "Any csv or parquet file of events."),
    }
    for name, (source, text) in sources.items():
        command = _command(formats, name, f"import_{name.replace('-', '_')}", text)
        command.add_argument("source", type=Path, metavar=source)
        command.add_argument("--out", type=Path, required=True, metavar="DATASET", help="directory to write")
        if name == "table":
            _table_options(command)


def _table_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user-id", required=True, metavar="C", help="column of user ids")
    parser.add_argument("--item-id", required=True, metavar="C", help="column of item ids")
    parser.add_argument("--event-time", metavar="C", help="column of times; without it the set is static")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--event-type", metavar="C", help="column of event types")
    kind.add_argument("--as-type", choices=TYPES, metavar="T", help=f"type of all events: {', '.join(TYPES)}")
    parser.add_argument(
        "--map", nargs="+", action="extend", default=[], type=_mapping, metavar="OLD=TYPE", help="what a type is called"
    )


def _data(commands: Any) -> None:
    """``recsys simulate`` and ``recsys check``."""
    simulate = _command(commands, "simulate", "simulate", "Write the dataset of a simulated shop whose truth is known.")
    simulate.add_argument("--out", type=Path, required=True, metavar="DATASET", help="directory to write")
    for name, default in {"users": 3000, "items": 800, "days": 120, "seed": 7}.items():
        simulate.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"default {default}")
    check = _command(commands, "check", "check", "Say what is wrong with a dataset, where, and how to mend it.")
    check.add_argument("dataset", type=Path, metavar="DATASET")


def _models(commands: Any) -> None:
    """``recsys train``, ``evaluate``, ``recommend``, ``exposures`` and ``bundles``."""
    train = _command(commands, "train", "train", "Train on a dataset and publish a bundle; prints its id last.")
    train.add_argument("dataset", type=Path, metavar="DATASET")
    _registry(train)
    train.add_argument("--state", type=Path, metavar="DIR", help="train on the events of this server state as well")
    train.add_argument("--until", type=_time, metavar="TIME", help="use events before this time only (UTC)")
    train.add_argument("--config", type=Path, metavar="FILE", help="a TOML file such as config/recsys.toml")

    evaluate = _command(commands, "evaluate", "evaluate", "Judge a bundle on what happened after its data.")
    evaluate.add_argument("dataset", type=Path, metavar="DATASET")
    _registry(evaluate)
    _bundle(evaluate)
    evaluate.add_argument("--from", dest="start", type=_time, metavar="TIME", help="default: the end of its data")
    evaluate.add_argument("--against", metavar="ID", help="another bundle to judge on the same holdout")
    evaluate.add_argument("--out", type=Path, required=True, metavar="DIR", help="where report.json goes")

    recommend = _command(commands, "recommend", "recommend", "Write lists for many users.")
    _registry(recommend)
    _bundle(recommend)
    recommend.add_argument("--users", type=Path, metavar="FILE", help="csv or parquet with user_id, or a line each")
    recommend.add_argument("--k", type=count, default=20, metavar="K", help="items for each user, default 20")
    policies = [policy.value for policy in ExcludePolicy]
    recommend.add_argument("--exclude", choices=policies, default="none", help="what history keeps out, default none")
    recommend.add_argument("--out", type=_list_file, required=True, metavar="FILE", help="a .parquet or .csv file")

    exposures = _command(commands, "exposures", "exposures", "Write the slates served, with what users did with them.")
    exposures.add_argument("--state", type=Path, required=True, metavar="DIR", help="state directory of the server")
    exposures.add_argument("--out", type=_list_file, required=True, metavar="FILE", help="a .parquet or .csv file")

    bundles = _command(commands, "bundles", "bundles", "List, show and switch the bundles of a registry.")
    bundles.add_argument("action", choices=("list", "show", "promote", "rollback"))
    bundles.add_argument("bundle", nargs="?", metavar="ID", help="show: default the live one; promote: required")
    _registry(bundles)


def _bench(commands: Any) -> None:
    """``recsys bench quality``, ``live``, ``parity``, ``filters``, ``crash``, ``serve`` and ``train``."""
    text = "Measure, and write the figures to a file."
    parser = commands.add_parser("bench", help=text, description=text)
    kinds = parser.add_subparsers(required=True, metavar="KIND", parser_class=Parser)
    quality = _bench_kind(kinds, "quality", "Lists on public data, by published protocols.")
    quality.add_argument("--only", nargs="+", default=[], metavar="NAME", help="of these data sets; default all")
    _bench_kind(kinds, "live", "Users new since training, after some live events, against training anew.")
    parity = _bench_kind(kinds, "parity", "Whether servers know each event at once, and features replay.")
    parity.add_argument("--events", type=count, default=10_000, metavar="N", help="default %(default)s")
    filters = _bench_kind(kinds, "filters", "What a filter costs a request, and what it still finds.")
    filters.add_argument("--items", type=count, default=100_000, metavar="N", help="default %(default)s")
    crash = _bench_kind(kinds, "crash", "What a server keeps of events when it is killed while it records.")
    crash.add_argument("--kills", type=count, default=200, metavar="N", help="default %(default)s")
    serve = _bench_kind(kinds, "serve", "What an answer costs a server of many users, beside an echo.")
    for name, default in {"users": 10_000_000, "items": 100_000, "rounds": 5}.items():
        serve.add_argument(f"--{name}", type=count, default=default, metavar="N", help="default %(default)s")
    factors = (64, 256)
    serve.add_argument("--factors", type=count, nargs="+", default=factors, metavar="N", help="default 64 256")
    serve.add_argument("--seconds", type=float, default=8.0, help="of each load in a round, default %(default)s")
    cache = Path("build", "bench")
    serve.add_argument("--cache-dir", type=Path, default=cache, metavar="DIR", help="of bundles, default %(default)s")
    train = _bench_kind(kinds, "train", "Seconds and memory of training, beside its libraries alone.")
    events = (1_000_000, 10_000_000, 50_000_000)
    text = "default 1000000 10000000 50000000"
    train.add_argument("--events", type=count, nargs="+", default=events, metavar="N", help=text)


def _bench_kind(kinds: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = _command(kinds, name, f"bench_{name}", text)
    out = Path("bench", f"{name}.json")
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="default %(default)s")
    return parser


def _demo(commands: Any) -> None:
    """``recsys demo``."""
    demo = _command(commands, "demo", "demo", "Run it all on a simulated shop: data, training, report, live answers.")
    demo.add_argument("--dataset", type=Path, metavar="DATASET", help="use this dataset instead of a simulated one")
    demo.add_argument("--exit", action="store_true", help="stop after the sample answers instead of serving on")


def _registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--registry", type=Path, required=True, metavar="DIR", help="where bundles live")


def _bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", metavar="ID", help="default: the live one")


def _time(text: str) -> int:
    """ISO 8601 as unix seconds; without an offset it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 2026-01-31 or 2026-01-31T12:00:00Z") from error
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def _list_file(text: str) -> Path:
    if not text.endswith((".parquet", ".csv")):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .parquet or .csv")
    return Path(text)


def _mapping(text: str) -> tuple[str, str]:
    old, equals, new = text.rpartition("=")
    if not (old and equals and new in {*TYPES, "drop"}):
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=TYPE; TYPE is one of {', '.join(TYPES)} or drop")
    return old, new


if __name__ == "__main__":
    sys.exit(main())
