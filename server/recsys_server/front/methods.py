"""The services and their methods, which frames name by number."""

from __future__ import annotations

from google.protobuf.descriptor import ServiceDescriptor

from recsys.v1 import catalog_service_pb2, event_service_pb2, experiment_service_pb2, recommendation_service_pb2

_FILES = (recommendation_service_pb2, experiment_service_pb2, event_service_pb2, catalog_service_pb2)
SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)
METHODS: tuple[str, ...] = tuple(method.name for service in SERVICES for method in service.methods)
"""Their names, which are different in all services."""
PATHS: tuple[str, ...] = tuple(
    f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods
)
"""As gRPC names them, in the same order."""
