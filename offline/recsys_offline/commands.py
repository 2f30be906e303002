"""What each command does: read, call the job, print."""

from __future__ import annotations

import time
from argparse import Namespace
from datetime import UTC, datetime

import numpy as np

from recsys import bundle, config, manifest
from recsys.errors import BundleError, RegistryError
from recsys.registry import Registry
from recsys.types import ExcludePolicy
from recsys_offline import batch, checks, dataset
from recsys_offline import exposures as exposure_files
from recsys_offline.bench import crash, filters, live, parity, quality, scale, serve, serve_table
from recsys_offline.bench import train as train_bench
from recsys_offline.demo import run as run_demo
from recsys_offline.evaluate import run as evaluation
from recsys_offline.evaluate.table import table_lines
from recsys_offline.importers import ImportReport, online_retail, retailrocket, table
from recsys_offline.jobs import evaluate_bundle, train_bundle
from recsys_offline.simulate import simulate as simulate_shop


def import_online_retail(arguments: Namespace) -> int:
    """``recsys import online-retail``."""
    return _imported(online_retail.run(arguments.source, arguments.out))


def import_retailrocket(arguments: Namespace) -> int:
    """``recsys import retailrocket``."""
    return _imported(retailrocket.run(arguments.source, arguments.out))


def import_table(arguments: Namespace) -> int:
    """``recsys import table``."""
    report = table.run(
        arguments.source,
        arguments.out,
        user_id=arguments.user_id,
        item_id=arguments.item_id,
        event_time=arguments.event_time,
        event_type=arguments.event_type,
        as_type=arguments.as_type,
        mapping=dict(arguments.map),
    )
    return _imported(report)


def _imported(report: ImportReport) -> int:
    print("\n".join(report.lines()))
    return 0


def simulate(arguments: Namespace) -> int:
    """``recsys simulate``."""
    size = (arguments.users, arguments.items, arguments.days, arguments.seed)
    print("\n".join(simulate_shop(arguments.out, *size).lines()))
    return 0


def check(arguments: Namespace) -> int:
    """``recsys check``: 1 when the dataset cannot be used."""
    report = checks.check(arguments.dataset, now=int(time.time()))
    print("\n".join(report.lines()))
    return 0 if report.usable else 1


def train(arguments: Namespace) -> int:
    """``recsys train``: the bundle's id is the last line of stdout."""
    registry, parameters = Registry(arguments.registry), config.load(arguments.config)
    print(train_bundle(arguments.dataset, registry, arguments.until, parameters, arguments.state))
    return 0


def evaluate(arguments: Namespace) -> int:
    """``recsys evaluate``."""
    registry = Registry(arguments.registry)
    judged = registry.find(arguments.bundle)
    other = registry.find(arguments.against) if arguments.against else None
    data = dataset.read(arguments.dataset, now=int(time.time()))
    report = evaluate_bundle(data, registry, judged, arguments.start)
    if other:
        report["against"] = evaluate_bundle(data, registry, other, arguments.start)
    path = evaluation.write(report, arguments.out)
    print("\n".join(table_lines(report)))
    if other:
        print("\n".join(["", f"against {other}", *table_lines(report["against"])]))
    print(f"\n{path}")
    return 0


def recommend(arguments: Namespace) -> int:
    """``recsys recommend``."""
    registry = Registry(arguments.registry)
    folder = registry.path(registry.find(arguments.bundle))
    recommender = bundle.load(folder)
    users = recommender.model.users
    user_ids = batch.read_user_ids(arguments.users) if arguments.users else users.ids(np.arange(len(users)))
    parameters = bundle.as_trained(manifest.read(folder), ExcludePolicy(arguments.exclude))
    rows = batch.recommend(recommender, user_ids, arguments.k, parameters, arguments.out)
    print(f"{rows:,} rows for {len(user_ids):,} users in {arguments.out}")
    return 0


def exposures(arguments: Namespace) -> int:
    """``recsys exposures``."""
    print(f"{exposure_files.export(arguments.state, arguments.out).line()} in {arguments.out}")
    return 0


def bundles(arguments: Namespace) -> int:
    """``recsys bundles list | show | promote | rollback``."""
    registry = Registry(arguments.registry)
    if arguments.bundle is not None and arguments.action in {"list", "rollback"}:
        raise RegistryError(f"{arguments.action} takes no bundle; to go back to one: recsys bundles promote ID")
    match arguments.action:
        case "list":
            print("\n".join(_listed(registry)) or "no bundles yet; run recsys train")
        case "show":
            folder = registry.path(registry.find(arguments.bundle))
            print(manifest.verify(folder).model_dump_json(indent=1, exclude={"golden"}))
        case "promote":
            if arguments.bundle is None:
                raise RegistryError(
                    "give the bundle to promote: recsys bundles promote ID; recsys bundles list names them"
                )
            manifest.verify(registry.path(registry.find(arguments.bundle)))
            registry.promote(arguments.bundle)
            print(f"{arguments.bundle} is live")
        case "rollback":
            print(f"{registry.rollback()} is live")
    return 0


def _listed(registry: Registry) -> list[str]:
    """A line for each bundle: its id, when it was made, its gain, and whether it is live."""
    lines = []
    for bundle_id in registry.bundle_ids():
        try:
            contents = manifest.read(registry.path(bundle_id))
        except BundleError as error:
            lines.append(str(error))
            continue
        made = datetime.fromtimestamp(contents.created_time, UTC).strftime("%Y-%m-%d %H:%M")
        ndcg = contents.metrics.get("two_stage_ndcg@20" if contents.has_ranker else "stage_1_ndcg@20")
        quality = f"ndcg@20 {ndcg:.4f}" if ndcg is not None else "not judged"
        live = "  live" if bundle_id == registry.live() else ""
        lines.append(f"{bundle_id}  made {made}  {quality}{live}")
    return lines


def bench_quality(arguments: Namespace) -> int:
    """``recsys bench quality``."""
    result = quality.bench(arguments.out, arguments.only)
    print("\n".join(quality.table_lines(result)))
    print(f"\n{arguments.out}")
    return 0


def bench_live(arguments: Namespace) -> int:
    """``recsys bench live``."""
    result = live.bench(arguments.out)
    print("\n".join(live.table_lines(result)))
    print(f"\n{arguments.out}")
    return 0


def bench_parity(arguments: Namespace) -> int:
    """``recsys bench parity``: 1 when an answer missed an event, or a replayed one differs, or there was none."""
    result = parity.bench(arguments.out, arguments.events)
    print("\n".join(parity.lines(result)))
    print(f"\n{arguments.out}")
    faults = result["answers_that_missed_an_event"] or result["samples_that_differ"] or not result["samples"]
    return 1 if faults else 0


def bench_filters(arguments: Namespace) -> int:
    """``recsys bench filters``."""
    result = filters.bench(arguments.out, arguments.items)
    print("\n".join(filters.lines(result)))
    print(f"\n{arguments.out}")
    return 0


def bench_crash(arguments: Namespace) -> int:
    """``recsys bench crash``: 1 when an event was lost or is there twice."""
    result = crash.bench(arguments.out, arguments.kills)
    print("\n".join(crash.lines(result)))
    print(f"\n{arguments.out}")
    return 0 if crash.is_whole(result) else 1


def bench_serve(arguments: Namespace) -> int:
    """``recsys bench serve``: 1 when a slate was not as it should be, or another user's."""
    sizes = [scale.Size(arguments.users, arguments.items, factors) for factors in arguments.factors]
    effort = serve.Effort(arguments.rounds, arguments.seconds)
    result = serve.bench(arguments.out, arguments.cache_dir, sizes, effort)
    print("\n".join([*serve_table.lines(result), str(arguments.out)]))
    return 0 if serve_table.is_sound(result) else 1


def bench_train(arguments: Namespace) -> int:
    """``recsys bench train``."""
    result = train_bench.bench(arguments.out, arguments.events)
    print("\n".join([*train_bench.lines(result), "", str(arguments.out)]))
    return 0


def demo(arguments: Namespace) -> int:
    """``recsys demo``."""
    return run_demo(arguments.dataset, stop=arguments.exit)
