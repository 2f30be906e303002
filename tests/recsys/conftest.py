"""One shop and its recommender, which no test can change."""

import pytest

import worlds
from recsys.recommender import Recommender


@pytest.fixture(scope="session")
def shop() -> worlds.World:
    return worlds.world()


@pytest.fixture(scope="session")
def recommender(shop: worlds.World) -> Recommender:
    return worlds.recommender(shop)
