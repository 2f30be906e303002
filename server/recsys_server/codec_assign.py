"""AssignVariants on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from recsys.experiments import Assignment
from recsys.v1 import experiment_service_pb2
from recsys.vocabulary import MAX_ID_BYTES
from recsys_server.errors import Violation
from recsys_server.wire import parsed, refuse, too_long, too_many

MAX_EXPERIMENTS = 100
MAX_ATTRIBUTES = 100


def unit(data: bytes) -> tuple[str, Sequence[str], Mapping[str, str]]:
    """The unit_id, experiments and attributes of an AssignVariantsRequest.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: names every field outside its limits.
    """
    request = parsed(experiment_service_pb2.AssignVariantsRequest, data)
    required = () if request.unit_id else (Violation("unit_id", "is required"),)
    refuse(
        (
            *required,
            *too_long("unit_id", request.unit_id, MAX_ID_BYTES),
            *too_many("experiments", len(request.experiments), MAX_EXPERIMENTS),
            *too_many("attributes", len(request.attributes), MAX_ATTRIBUTES),
        )
    )
    return request.unit_id, request.experiments, request.attributes


def assigned(assignments: Iterable[Assignment]) -> bytes:
    """An AssignVariantsResponse."""
    response = experiment_service_pb2.AssignVariantsResponse()
    for assignment in assignments:
        response.assignments.add(
            experiment=assignment.experiment,
            variant=assignment.variant,
            bucket=assignment.bucket,
            in_experiment=assignment.in_experiment,
            reason=assignment.reason,
        )
    return response.SerializeToString()
