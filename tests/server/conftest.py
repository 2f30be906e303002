"""Coroutine tests run on an event loop of their own."""

import asyncio
import inspect
from dataclasses import replace

import pytest

import builders
import worlds
from recsys.registry import Registry


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}
    asyncio.run(test(**arguments))
    return True


@pytest.fixture(scope="session")
def world():
    return worlds.world()


@pytest.fixture(scope="session")
def published(world, tmp_path_factory):
    """A registry with one bundle that serves, and a second one, without a ranker, that does not yet."""
    root = tmp_path_factory.mktemp("published")
    model = worlds.model(world)
    ids = [
        builders.write_bundle(part, Registry(root).versions, until=world.until).name
        for part in (replace(model, ranker=None), model)
    ]
    Registry(root).promote(ids[1])
    return root
