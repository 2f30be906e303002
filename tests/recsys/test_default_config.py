"""config/recsys.toml is the reference of every parameter: it says the defaults, all of them, each with its meaning."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

from recsys import config

FILE = Path(__file__).parents[2] / "config/recsys.toml"


def keys(tables, prefix=""):
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_the_reference_file_says_what_no_file_at_all_means():
    assert config.load(FILE) == config.Config()


def test_the_reference_file_holds_every_key():
    assert set(keys(tomllib.loads(FILE.read_text()))) == set(keys(config.Config().model_dump()))


def test_each_key_of_the_reference_file_has_a_comment_right_above_it():
    lines = FILE.read_text().splitlines()
    bare = [line for above, line in pairwise(lines) if re.match(r"\w+ =", line) and not above.startswith("#")]
    assert bare == []
