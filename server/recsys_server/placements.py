"""The placements of a configuration, put together once instead of for each request."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.config import Config
from recsys.rules import Rules
from recsys.types import ServingParameters

DEFAULT_PLACEMENT = "default"


@dataclass(frozen=True, slots=True)
class Placement:
    """How a place on the shop's pages is served before requests and experiments have their say."""

    slate_size: int
    parameters: ServingParameters
    rules: Rules


class Placements:
    """All placements; one that has no table is served as the default one."""

    def __init__(self, config: Config) -> None:
        self._named = {name: _placement(config, name) for name in config.placements}
        self._default = _placement(config, DEFAULT_PLACEMENT)

    def named(self, name: str) -> Placement:
        """The placement of that name."""
        return self._named.get(name, self._default)


def _placement(config: Config, name: str) -> Placement:
    section = config.placement(name)
    return Placement(section.slate_size, config.serving(name), section.rules)
