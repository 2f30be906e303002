"""Whatever bytes a client sends, it gets an answer or a refusal that is its own fault."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import Config
from recsys.experiments import Experiments
from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server import codec, codec_assign, status
from recsys_server.errors import InvalidRequestError, MalformedMessageError, RequestError

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


def query(data):
    return codec.request(data, Config(), Experiments(), now=0)


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


def test_a_response_is_its_two_parts_joined():
    slate = pb.RecommendResponse(bundle_id="b", degraded=["ranker"], items=[pb.RecommendedItem(item_id="i", rank=1)])
    data = codec.response("r", codec.ServedFrom.MODEL, {"rank": 1.25}, slate.SerializeToString())
    response = pb.RecommendResponse.FromString(data)
    assert (response.recommendation_id, response.bundle_id, response.served_from) == ("r", "b", pb.SERVED_FROM_MODEL)
    assert response.stage_timings[0].duration.ToMilliseconds() == 1250
    assert response.items[0].item_id == "i"


@pytest.mark.parametrize("error", RequestError.__subclasses__())
def test_each_reason_to_refuse_has_a_status(error):
    assert error in status.TABLE


def test_each_reason_of_the_wire_is_used():
    from recsys.v1 import error_reason_pb2

    used = {rule.reason for rule in status.TABLE.values()} | {error_reason_pb2.ERROR_REASON_INTERNAL}
    assert used == set(error_reason_pb2.ErrorReason.values()) - {error_reason_pb2.ERROR_REASON_UNSPECIFIED}


def test_each_served_from_and_policy_of_the_wire_has_its_word():
    assert {codec._SERVED_FROM[word] for word in codec.ServedFrom} == set(pb.ServedFrom.values()) - {0}
    assert set(codec._POLICIES) == set(pb.ExcludePolicy.values()) - {0}
