"""``recsys demo``: the whole line on one shop, for somebody who sees it for the first time."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from recsys.config import Config
from recsys.registry import Registry
from recsys.types import SECONDS_PER_DAY
from recsys_offline import checks, dataset
from recsys_offline.dataset import Dataset
from recsys_offline.evaluate.table import table_lines
from recsys_offline.jobs import evaluate_bundle, train_bundle
from recsys_offline.server_process import Ask, calling, running
from recsys_offline.simulate import simulate

SHOP = (6_000, 800, 120, 7)  # users, items, days, seed
HOLDOUT_DAYS = 14
HOLDOUT_SHARE = 0.1
SHOWN = 5


def run(path: Path | None, *, stop: bool) -> int:
    """Data, checks, training, evaluation, a server and its answers; then serve on until Ctrl-C unless ``stop``."""
    with tempfile.TemporaryDirectory(prefix="recsys-demo-") as folder:
        root = Path(folder)
        if path is None:
            _title("A simulated shop")
            path = root / "shop"
            print("\n".join(simulate(path, *SHOP).lines()))
        _title("Checks")
        report = checks.check(path, now=int(time.time()))
        print("\n".join(report.lines()))
        if not report.usable:
            return 1
        data = dataset.read(path, now=int(time.time()))
        registry = Registry(root / "registry")
        until = _until(data)
        _title("Training" + (f" on events before {np.datetime64(until, 's')}" if until else ""))
        bundle_id = train_bundle(path, registry, until, Config())
        print(f"published bundle {bundle_id}", flush=True)
        if until:
            _title("Evaluation on what came after")
            print("\n".join(_short(table_lines(evaluate_bundle(data, registry, bundle_id, None)))))
        options = ("--registry", registry.root, "--state", root / "state")
        with running(options, root / "server.log", metrics="127.0.0.1:0") as server:
            _title("Answers over gRPC")
            print(server.line)
            with calling(server.address) as ask:
                _show(data, until, ask)
            if not stop:
                print("\nserving on; Ctrl-C stops", flush=True)
                _wait()
    return 0


def _title(text: str) -> None:
    print(f"\n== {text} ==", flush=True)


def _until(data: Dataset) -> int | None:
    """Where the holdout starts; None in a set without times."""
    if not data.has_times:
        return None
    first, last = int(data.events.time[0]), int(data.events.time[-1])
    holdout = min(HOLDOUT_DAYS * SECONDS_PER_DAY, (last - first) * HOLDOUT_SHARE)
    day = int((last - holdout) // SECONDS_PER_DAY * SECONDS_PER_DAY)
    return day if day > first else int(last - holdout)


def _short(lines: list[str]) -> list[str]:
    """A report's lines without the tables of the cut-offs 5 and 20: one fits a screen."""
    kept, shown = [], True
    for line in lines:
        if ", k = " in line:
            shown = ", k = 10," in line
        elif not line.startswith(" ") and " over " in line:
            shown = True
        if shown:
            kept.append(line)
    return kept


def _show(data: Dataset, until: int | None, ask: Ask) -> None:
    """Slates, with titles, of two users with a history and of a new one, before and after a first look at an item."""
    events = data.events.before(until) if until else data.events
    counts = np.bincount(events.user_num, minlength=len(data.users))[: len(data.users)]
    by_activity = np.argsort(-counts, kind="stable")
    active = int((counts > 0).sum())
    regular, casual = int(by_activity[active // 20]), int(by_activity[active // 2])
    titles = dict(zip(data.items.ids(np.arange(len(data.items))), data.catalogue.titles, strict=True))
    for user, who in ((regular, "a regular"), (casual, "a casual shopper")):
        latest = events.item_num[events.user_num == user][::-1]
        seen = [titles[item] or item for item in data.items.ids(np.array(list(dict.fromkeys(latest.tolist()))[:3]))]
        slate = _slate(ask, data.users.id(user))
        _print_slate(f"{data.users.id(user)}, {who}, last seen: {', '.join(seen)}", slate, titles)
    _print_slate("somebody-new, whom the shop has never met", _slate(ask, "somebody-new"), titles)
    item_id = slate["items"][0]["item_id"]
    view = {"user_id": "somebody-new", "item_id": item_id, "event_type": "EVENT_TYPE_VIEW_ITEM"}
    ask("EventService.RecordEvents", {"events": [view]})
    looked_at = titles.get(item_id) or item_id
    _print_slate(f"somebody-new, who has just looked at {looked_at}", _slate(ask, "somebody-new"), titles)


def _slate(ask: Ask, user_id: str) -> dict[str, Any]:
    return ask("RecommendationService.Recommend", {"user_id": user_id, "slate_size": SHOWN})


def _print_slate(head: str, answer: dict[str, Any], titles: dict[str, str]) -> None:
    print(f"\n{head}  ({answer['served_from'].removeprefix('SERVED_FROM_').lower().replace('_', ' ')})")
    for item in answer["items"]:
        name = titles.get(item["item_id"]) or item["item_id"]
        print(f"  {item['rank']:>2}  {name:<44} {', '.join(item.get('sources', ()))}", flush=True)


def _wait() -> None:
    """Until Ctrl-C."""
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("stopping")
