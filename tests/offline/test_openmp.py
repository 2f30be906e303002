"""`implicit` loads without the system's libgomp.so.1. Only on Linux, where its wheel wants that library."""

import subprocess
import sys

import pytest

from recsys.errors import RecsysError
from recsys_offline import openmp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have another OpenMP")

# A loader that finds nothing under a bare name which is not loaded already: a system without libgomp.
HIDDEN = """
import ctypes
from recsys_offline import openmp

class Hidden(ctypes.CDLL):
    def __init__(self, name, mode=ctypes.DEFAULT_MODE, **others):
        loaded = "memfd:" in open("/proc/self/maps").read()
        if name == "libgomp.so.1" and not loaded:
            raise OSError(name)
        super().__init__(name, mode, **others)

ctypes.CDLL = Hidden
openmp.ensure_openmp()
openmp.ensure_openmp()
import implicit.cpu.als
maps = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if "gomp" in line}
print(*sorted(maps), sep="\\n")
"""


def test_a_bundled_copy_serves_implicit_where_the_system_has_none():
    done = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "/memfd:libgomp.so.1 (deleted)" in done.stdout.splitlines()
    assert not any(path.endswith("/libgomp.so.1") or "-linux-gnu/libgomp" in path for path in done.stdout.splitlines())


def test_only_the_name_changes_in_the_copy():
    library = b"\x7fELF..\0libgomp-e985bcbb.so.1.0.0\0libc.so.6\0"
    assert openmp.renamed(library) == b"\x7fELF..\0libgomp.so.1" + b"\0" * 13 + b"\0libc.so.6\0"


def test_without_any_copy_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(openmp, "_loads", lambda _name: False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(RecsysError, match="libgomp1") as raised:
        openmp.ensure_openmp()
    assert "\n" not in str(raised.value)


def test_a_damaged_copy_is_passed_over(monkeypatch, tmp_path):
    damaged = tmp_path / "some.libs/libgomp-00.so.1"
    damaged.parent.mkdir()
    damaged.write_bytes(b"not a library")
    monkeypatch.setattr(openmp, "SONAME", b"libgomp-nowhere.so.1")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(RecsysError):
        openmp.ensure_openmp()
