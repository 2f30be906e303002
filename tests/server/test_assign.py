"""Experiments: assignments over the wire, and variants that shape slates."""

import asyncio

import pytest

from recsys import experiments
from recsys.errors import ConfigError
from recsys.v1 import experiment_service_pb2 as assign_pb
from recsys.v1 import recommendation_service_pb2 as pb
from server_fakes import FakeRecommender, FakeRegistry, refused, serving, settings, until

FILE = """
[[experiments]]
name = "ranker"
variants = [{ name = "on" }, { name = "off", parameters = { use_ranker = false } }]

[[experiments]]
name = "nobody"
traffic = 0.0
variants = [{ name = "a" }, { name = "b" }]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "experiments.toml"
    path.write_text(FILE)
    return path


def user_of(file, variant):
    """A user in that variant of "ranker"."""
    loaded = experiments.load(file)
    return next(user for user in map(str, range(1000)) if loaded.assign(user, 0, ("ranker",))[0].variant == variant)


async def test_assignments_are_those_of_the_file_in_its_order(file):
    async with serving(FakeRegistry(), settings(experiments=str(file))) as client:
        response = await client.assign(assign_pb.AssignVariantsRequest(unit_id="u1"))
    expected = experiments.load(file).assign("u1", 0)
    assert [
        (one.experiment, one.variant, one.bucket, one.in_experiment, one.reason) for one in response.assignments
    ] == [(one.experiment, one.variant, one.bucket, one.in_experiment, one.reason) for one in expected]
    assert [one.in_experiment for one in response.assignments] == [True, False]


async def test_experiments_are_answered_in_the_order_asked_for_unknown_ones_too(file):
    request = assign_pb.AssignVariantsRequest(unit_id="u1", experiments=["none", "nobody", "ranker"])
    async with serving(FakeRegistry(), settings(experiments=str(file))) as client:
        response = await client.assign(request)
    assert [one.experiment for one in response.assignments] == ["none", "nobody", "ranker"]
    assert [one.reason for one in response.assignments] == ["unknown_experiment", "not_in_traffic", "assigned"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (assign_pb.AssignVariantsRequest(), "unit_id"),
        (assign_pb.AssignVariantsRequest(unit_id="u" * 257), "unit_id"),
        (assign_pb.AssignVariantsRequest(unit_id="u", experiments=["e"] * 101), "experiments"),
        (
            assign_pb.AssignVariantsRequest(unit_id="u", attributes={str(num): "" for num in range(101)}),
            "attributes",
        ),
    ],
)
async def test_an_assignment_request_outside_its_limits_is_refused(request_, field):
    async with serving(FakeRegistry()) as client:
        details = await refused(client.assign(request_))
    assert (details.code.name, details.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert list(details.violations) == [field]


async def test_bytes_that_are_no_assignment_request_are_refused():
    async with serving(FakeRegistry()) as client:
        details = await refused(client.send(b"\xff\xff", "/recsys.v1.ExperimentService/AssignVariants"))
    assert details.reason == "MALFORMED_MESSAGE"


async def test_a_variant_sets_serving_parameters_and_stands_in_answer_and_metrics(file):
    recommender = FakeRecommender(users=[str(num) for num in range(1000)])
    async with serving(FakeRegistry(recommender), settings(experiments=str(file))) as client:
        answers = {
            variant: await client.recommend(pb.RecommendRequest(user_id=user_of(file, variant)))
            for variant in ("on", "off")
        }
        assert client.metric("recsys_exposures_total", experiment="ranker", variant="off") == 1
    for variant, answer in answers.items():
        assert [(one.experiment, one.variant) for one in answer.assignments] == [("ranker", variant)]
    assert [batch[0].parameters.use_ranker for batch in recommender.batches] == [True, False]


async def test_an_override_previews_another_variant_and_misses_the_cache(file):
    user = user_of(file, "on")
    recommender = FakeRecommender(users=[user])
    override = pb.ExperimentVariant(experiment="ranker", variant="off")
    async with serving(FakeRegistry(recommender), settings(experiments=str(file))) as client:
        await client.recommend(pb.RecommendRequest(user_id=user))
        answer = await client.recommend(pb.RecommendRequest(user_id=user, variant_overrides=[override]))
    assert answer.served_from == pb.SERVED_FROM_MODEL
    assert [(one.experiment, one.variant) for one in answer.assignments] == [("ranker", "off")]
    assert [batch[0].parameters.use_ranker for batch in recommender.batches] == [True, False]


async def test_each_override_that_is_not_configured_is_a_violation(file):
    overrides = [
        pb.ExperimentVariant(experiment="ranker", variant="on"),
        pb.ExperimentVariant(experiment="rankr", variant="on"),
        pb.ExperimentVariant(experiment="ranker", variant="of"),
        pb.ExperimentVariant(experiment="x" * 500_000, variant="on"),
    ]
    async with serving(FakeRegistry(FakeRecommender()), settings(experiments=str(file))) as client:
        details = await refused(client.recommend(pb.RecommendRequest(variant_overrides=overrides)))
    assert set(details.violations) == {f"variant_overrides[{index}]" for index in (1, 2, 3)}
    assert "did you mean 'ranker'" in details.violations["variant_overrides[1]"]
    assert "at most 64 characters" in details.violations["variant_overrides[3]"]


async def test_an_anonymous_visitor_is_in_no_experiment(file):
    async with serving(FakeRegistry(FakeRecommender()), settings(experiments=str(file))) as client:
        answer = await client.recommend(pb.RecommendRequest())
    assert not answer.assignments


async def test_a_changed_file_holds_without_a_restart_and_a_bad_one_changes_nothing(file, caplog):
    caplog.set_level("INFO")

    async def names():
        response = await client.assign(assign_pb.AssignVariantsRequest(unit_id="u"))
        return [one.experiment for one in response.assignments]

    async with serving(FakeRegistry(), settings(experiments=str(file))) as client:
        replace(file, FILE.replace("nobody", "renamed"))
        await until(lambda: "2 experiments" in caplog.text)
        assert await names() == ["ranker", "renamed"]
        replace(file, "[[experiments]]\nname = 1")
        await until(lambda: client.metric("recsys_experiments_failures_total") == 1)
        file.unlink()
        await until(lambda: client.metric("recsys_experiments_failures_total") == 2)
        await asyncio.sleep(0.1)
        assert await names() == ["ranker", "renamed"]
        assert client.metric("recsys_experiments_failures_total") == 2
        replace(file, FILE)
        await until(lambda: caplog.text.count("2 experiments") == 2)
        assert await names() == ["ranker", "nobody"]
    assert caplog.text.count(f"{file}: ") == 4


async def test_a_server_does_not_start_on_a_bad_experiments_file(file):
    file.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"experiments\.toml"):
        async with serving(FakeRegistry(), settings(experiments=str(file))):
            pass


def replace(path, text):
    """As an editor or a deployment does it: another file of the same name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
