"""A simulated shop whose truth is known."""

from recsys_offline.simulate.report import SimulationReport
from recsys_offline.simulate.run import simulate
from recsys_offline.simulate.world import World

__all__ = ["SimulationReport", "World", "simulate"]
