"""Whatever bytes a client sends, it gets an answer or a refusal that is its own fault."""

import contextlib
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.config import Config, PlacementSection
from recsys.encoded_slate import encoded, item_ids, items
from recsys.experiments import Experiment, Experiments, Variant
from recsys.ranked_items import RankedSlates
from recsys.types import FeatureReason, HistoryReason, RuleReason, ServedFrom, Slate, SlateItem
from recsys.v1 import recommendation_service_pb2 as pb
from recsys.vocabulary import Vocabulary
from recsys_server import codec, codec_assign, codec_slate, status
from recsys_server.errors import InvalidRequestError, MalformedMessageError, RequestError
from recsys_server.placements import Placements

TEXT = st.text(max_size=300)
REQUESTS = st.builds(
    pb.RecommendRequest,
    user_id=TEXT,
    slate_size=st.integers(-(2**31), 2**31 - 1),
    placement=TEXT,
    seed_item_ids=st.lists(TEXT, max_size=5),
    exclude_item_ids=st.lists(TEXT, max_size=5),
    exclude_policy=st.integers(-(2**31), 2**31 - 1),
    variant_overrides=st.lists(st.builds(pb.ExperimentVariant, experiment=TEXT, variant=TEXT), max_size=3),
)


SCORES = st.floats(width=32)
REASONS = st.lists(
    st.builds(RuleReason, TEXT, TEXT)
    | st.builds(HistoryReason, TEXT, SCORES)
    | st.builds(FeatureReason, TEXT, SCORES, SCORES),
    max_size=2,
).map(tuple)
ITEMS = st.builds(
    SlateItem,
    item_id=st.text(max_size=20) | TEXT,
    score=SCORES,
    sources=st.lists(st.text(max_size=9) | TEXT, max_size=3).map(tuple),
    reasons=st.just(()) | REASONS,
    propensity=st.just(1.0) | st.floats(0, 1, width=32),
)
LONG_SLATES = st.lists(ITEMS.map(lambda item: item._replace(reasons=())), min_size=3, max_size=3)
SLATES = st.lists(ITEMS, max_size=5).map(tuple) | LONG_SLATES.map(lambda few: tuple(few * 50))


def query(data):
    return codec.request(data, Placements(Config()), Experiments(), now=0)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_a_query_or_refused(data):
    with contextlib.suppress(MalformedMessageError, InvalidRequestError):
        query(data)
    with contextlib.suppress(MalformedMessageError, InvalidRequestError):
        codec_assign.unit(data)


@given(REQUESTS, st.integers(0, 30), st.binary(max_size=4))
@settings(max_examples=200, deadline=None)
def test_a_damaged_request_is_a_query_or_refused(request, place, damage):
    data = request.SerializeToString()
    with contextlib.suppress(MalformedMessageError, InvalidRequestError):
        query(data[:place] + damage + data[place + len(damage) :])


@given(REQUESTS)
@settings(max_examples=200, deadline=None)
def test_a_query_is_within_every_limit_or_the_request_is_refused(request):
    try:
        made = query(request.SerializeToString())
    except InvalidRequestError:
        return
    asked = made.query
    assert 1 <= asked.slate_size <= 500
    assert request.slate_size >= 0
    assert len(asked.user_id.encode()) <= 256
    assert request.exclude_policy in {0, 1, 2, 3}
    assert made.assignments == ()


ALIKE = st.builds(
    pb.RecommendRequest,
    user_id=st.sampled_from(["", "u1", "u\u00e9", "u" * 125, "u" * 126]),
    slate_size=st.sampled_from([0, 3, -1]),
    placement=st.sampled_from(["", "cart"]),
    exclude_policy=st.integers(0, 4),
    explain=st.booleans(),
    seed_item_ids=st.lists(st.just("i1"), max_size=1),
)
EXPERIMENT = Experiment(
    "size", "s", (Variant("control", 0.5), Variant("purchased", 0.5, {"exclude_policy": "purchased"}))
)
CART = Config(placements={"cart": PlacementSection(slate_size=7, exclude_policy="seen")})


@given(st.lists(ALIKE, min_size=1, max_size=2), st.booleans(), st.sampled_from([b"", b"\x0a\x00", b"\x0a\x05u"]))
@settings(max_examples=300, deadline=None)
def test_a_request_like_others_is_read_as_if_it_were_the_only_one(parts, varied, more):
    def read():
        try:
            return codec.request(data, Placements(CART), Experiments([EXPERIMENT] if varied else []), now=9_999)
        except (MalformedMessageError, InvalidRequestError) as error:
            return str(error)

    data = b"".join(part.SerializeToString() for part in parts) + more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "FEW_BYTES", -1)
        alone = read()
    assert read() == alone
    if isinstance(alone, codec.Request) and (wanted := pb.RecommendRequest.FromString(data).exclude_policy):
        assert alone.query.parameters.exclude_policy == codec._POLICIES[wanted]


def word(reason):
    match reason:
        case RuleReason(name, effect):
            return pb.Reason(rule=pb.RuleReason(name=name, effect=effect))
        case HistoryReason(item_id, contribution):
            return pb.Reason(history=pb.HistoryReason(item_id=item_id, contribution=contribution))
        case FeatureReason(name, value, contribution):
            known = {"value": value} if math.isfinite(value) else {}
            return pb.Reason(feature=pb.FeatureReason(name=name, contribution=contribution, **known))


@given(SLATES, st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple), st.lists(TEXT, max_size=2).map(tuple))
@settings(max_examples=100, deadline=None)
def test_a_slate_on_the_wire_says_what_protobuf_itself_would_write(slate, assignments, degraded):
    expected = pb.RecommendResponse(bundle_id="b", degraded=degraded)
    for experiment, variant in assignments:
        expected.assignments.add(experiment=experiment, variant=variant)
    for rank, item in enumerate(slate, start=1):
        wire = expected.items.add(item_id=item.item_id, rank=rank, score=item.score, sources=item.sources)
        wire.reasons.extend(map(word, item.reasons))
        if item.propensity < 1:
            wire.propensity = item.propensity
    encoded = codec_slate.slate(Slate(slate, ServedFrom.MODEL, degraded), "b", assignments)
    read = pb.RecommendResponse.FromString(encoded)
    assert read.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


@given(SLATES)
@example((SlateItem("i", 0.5, ("s" * 40_000, "t")),))
@settings(max_examples=100, deadline=None)
def test_a_slate_as_it_was_sent_is_read_again_without_protobuf(slate):
    encoded = codec_slate.slate(Slate(slate, ServedFrom.MODEL, ("ranker",)), "b", (("experiment", "variant"),))
    sent = codec_slate.degraded(encoded, ["retrieval"])
    rules = [tuple(reason for reason in item.reasons if isinstance(reason, RuleReason)) for item in slate]
    assert repr([*items(sent)]) == repr([item._replace(reasons=own) for item, own in zip(slate, rules, strict=True)])
    assert list(filter(None, item_ids(sent))) == [item.item_id for item in slate if item.item_id]


NAMES = ("touched", "als", "spectral")
SHORT_IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@given(
    st.lists(SHORT_IDS | st.just("x" * 200), min_size=1, max_size=8, unique=True),
    st.lists(st.text("yz", min_size=120, max_size=256), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from([0, 1, 3, 150, 20_000]), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
@settings(max_examples=100, deadline=None)
def test_slates_encoded_as_arrays_are_those_of_protobuf(known, later, sizes, seed):
    random = np.random.default_rng(seed)
    vocabulary = Vocabulary.of(known).followed_by(later)
    starts, n = np.concatenate([[0], np.cumsum(sizes)]), sum(sizes)
    rank = np.where(random.random((n + 1, 3)) < 0.5, np.nan, 1).astype(np.float32)
    item_num, position = random.integers(0, len(vocabulary), n + 1).astype(np.int32), random.permutation(n + 1)[:n]
    score = random.normal(size=n).astype(np.float32)
    draw = random.choice([0, 0.3, 1], n).astype(np.float32)
    rows = RankedSlates(item_num, starts, position, score, draw)
    made = encoded(rows, rank, vocabulary.letters, NAMES)
    for slate, (begin, end) in zip(made, pairwise(starts.tolist()), strict=True):
        expected = tuple(
            SlateItem(
                vocabulary.id(item_num[position[at]]),
                float(score[at]),
                tuple(sorted(name for name, own in zip(NAMES, rank[position[at]], strict=True) if own == 1)),
                (RuleReason("exploration", "explored"),) if draw[at] else (),
                float(draw[at]) or 1.0,
            )
            for at in range(begin, end)
        )
        wire = pb.RecommendResponse(bundle_id="b")
        for number, item in enumerate(expected, start=1):
            one = wire.items.add(item_id=item.item_id, rank=number, score=item.score, sources=item.sources)
            one.reasons.extend(map(word, item.reasons))
            if item.propensity < 1:
                one.propensity = item.propensity
        sent = codec_slate.slate(Slate(slate, ServedFrom.MODEL), "b", ())
        assert pb.RecommendResponse.FromString(sent).SerializeToString() == wire.SerializeToString()
        assert (len(slate), slate) == (end - begin, expected)
        assert slate[:2] == expected[:2]


@given(
    st.text(max_size=200),
    st.sampled_from(ServedFrom),
    st.lists(TEXT, max_size=2).map(tuple),
    st.floats(0, 1e6),
    st.lists(st.tuples(TEXT, st.floats(0, 300)), max_size=3).map(tuple),
)
@settings(max_examples=200, deadline=None)
def test_the_head_of_a_response_is_what_protobuf_itself_would_write(recommendation_id, origin, degraded, wait, stages):
    read = pb.RecommendResponse.FromString(codec_slate.response(recommendation_id, origin, b"", wait, stages, degraded))
    expected = pb.RecommendResponse(
        recommendation_id=recommendation_id, served_from=codec_slate._SERVED_FROM[origin], degraded=degraded
    )
    for stage, seconds in (("wait", wait), *stages) if stages else ():
        expected.stage_timings.add(stage=stage).duration.FromMicroseconds(10 * round(seconds * 1e5))
    assert read == expected


def test_a_response_is_its_two_parts_joined():
    slate = pb.RecommendResponse(bundle_id="b", degraded=["ranker"], items=[pb.RecommendedItem(item_id="i", rank=1)])
    data = codec_slate.response("r", ServedFrom.MODEL, slate.SerializeToString(), 0.5, (("rank", 1.25),))
    response = pb.RecommendResponse.FromString(data)
    assert (response.recommendation_id, response.bundle_id, response.served_from) == ("r", "b", pb.SERVED_FROM_MODEL)
    timings = [(timing.stage, timing.duration.ToMilliseconds()) for timing in response.stage_timings]
    assert timings == [("wait", 500), ("rank", 1250)]
    assert response.items[0].item_id == "i"


@pytest.mark.parametrize("error", RequestError.__subclasses__())
def test_each_reason_to_refuse_has_a_status(error):
    assert error in status.TABLE


def test_each_reason_of_the_wire_is_used():
    from recsys.v1 import error_reason_pb2

    used = {rule.reason for rule in status.TABLE.values()} | {error_reason_pb2.ERROR_REASON_INTERNAL}
    assert used == set(error_reason_pb2.ErrorReason.values()) - {error_reason_pb2.ERROR_REASON_UNSPECIFIED}


def test_each_served_from_and_policy_of_the_wire_has_its_word():
    assert {codec_slate._SERVED_FROM[word] for word in ServedFrom} == set(pb.ServedFrom.values()) - {0}
    assert set(codec._POLICIES) == set(pb.ExcludePolicy.values()) - {0}


def test_what_a_user_draws_by_stands_for_an_hour_and_is_not_that_of_others():
    def seed(user, now):
        data = pb.RecommendRequest(user_id=user).SerializeToString()
        return codec.request(data, Placements(Config()), Experiments(), now=now).query.seed

    users = [f"u{num}" for num in range(100)]
    hours = [[seed(user, 3_600 * hour + 10) for user in users] for hour in (500_000, 500_001)]
    assert hours[0] == [seed(user, 3_600 * 500_000 + 3_599) for user in users]
    assert len({*hours[0], *hours[1]}) == 200
    assert 0 not in hours[0]
