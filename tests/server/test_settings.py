"""Options: the flag over the environment over the file over the default."""

import pytest

from recsys.errors import ConfigError
from recsys_server import settings
from recsys_server.__main__ import main


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("RECSYS_SERVER__REGISTRY", "registry")
    return monkeypatch


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "recsys.toml"
    path.write_text('[server]\nlisten = "127.0.0.1:1"\nmax_batch = 7\n[cache]\nuser_seconds = 5\n')
    return path


def listen(*argv):
    return settings.read(argv)[0].server.listen


def test_the_flag_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default(environment, file):
    assert listen() == "127.0.0.1:50051"
    assert listen("--config", str(file)) == "127.0.0.1:1"
    environment.setenv("RECSYS_SERVER__LISTEN", "127.0.0.1:2")
    assert listen("--config", str(file)) == "127.0.0.1:2"
    assert listen("--config", str(file), "--listen", "127.0.0.1:3") == "127.0.0.1:3"


def test_the_file_can_be_named_by_the_environment_and_keeps_what_nothing_else_says(environment, file):
    environment.setenv("RECSYS_SERVER__CONFIG", str(file))
    environment.setenv("RECSYS_CACHE__USER_MIB", "11")
    read, root = settings.read([])
    assert (read.server.max_batch, read.cache.user_seconds, read.cache.user_mib) == (7, 5.0, 11)
    assert str(root) == "registry"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RECSYS_SERVER__LISTNE", "x:1", "did you mean 'server.listen'"),
        ("RECSYS_CAHCE__USER_SECONDS", "5", "did you mean RECSYS_CACHE__"),
        ("RECSYS_SERVER__LISTEN", "nowhere", "HOST:PORT"),
        ("RECSYS_SERVER__LISTEN", "host:65536", "HOST:PORT"),
        ("RECSYS_SERVER__MAX_BATCH", "many", "max_batch"),
        ("RECSYS_SERVER__MAX_BATCH", "0", "max_batch"),
        ("RECSYS_SERVER", "no json", "server"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_in_one_line(environment, name, value, said):
    environment.setenv(name, value)
    with pytest.raises(ConfigError, match=said) as caught:
        settings.read([])
    assert "\n" not in str(caught.value)
    assert "RECSYS_" in str(caught.value) or "HOST:PORT" in str(caught.value)


def test_a_fault_of_the_file_names_the_file(file):
    file.write_text("[server]\nlisten = 5\n")
    with pytest.raises(ConfigError, match=f"{file}.*listen"):
        settings.read(["--config", str(file)])


@pytest.mark.parametrize(
    "argv", [("--listen", "nowhere"), ("--nonsense",), ("--metrics", "127.0.0.1:x"), ("--config",), ("extra",)]
)
def test_wrong_use_is_one_line_and_status_2(capsys, argv):
    with pytest.raises(SystemExit) as caught:
        settings.read(argv)
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_a_registry_the_line_says_how_to_give_one(environment, capsys):
    environment.delenv("RECSYS_SERVER__REGISTRY")
    with pytest.raises(SystemExit) as caught:
        settings.read([])
    assert caught.value.code == 2
    assert "--registry" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        settings.read(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--registry", "--listen", "--metrics", "--config", "RECSYS_SERVER__"))
    assert callable(main)
