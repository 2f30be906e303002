"""A server has compiled, or read, all machine code before it answers: a request that waits for the compiler is late."""

import subprocess
import sys
from pathlib import Path

import builders
import worlds

TESTS = Path(__file__).parents[1]
SCRIPT = """
import asyncio
import sys
from pathlib import Path
from recsys_server import models
from test_kernel import asked, compiled
recommender = asyncio.run(models.load_verified(Path(sys.argv[1])))
before = compiled()
asked(recommender)
print(*(name for name, count in compiled().items() if count > before[name]))
"""


def test_whatever_is_asked_first_is_compiled_when_a_bundle_is_loaded(tmp_path):
    recommender = worlds.branded(worlds.recommender(worlds.world()))
    folder = builders.write_bundle(recommender.model, tmp_path, until=recommender.until)
    path = f"sys.path += [{str(TESTS)!r}, {str(TESTS / 'recsys')!r}]"
    command = [sys.executable, "-c", f"import sys; {path}\n{SCRIPT}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
