"""The gRPC service that answers from a bundle."""
