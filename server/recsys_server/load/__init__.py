"""A load generator that costs little beside the server it measures; ``python -m recsys_server.load --help``."""
