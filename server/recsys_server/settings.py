"""Options of the command line and the environment, over the configuration file, over the defaults."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from recsys import config
from recsys.arguments import count
from recsys.config import MOST_WORKERS, Config, ServerSection
from recsys.errors import ConfigError

_PREFIX = "RECSYS_"
_CONFIG = f"{_PREFIX}SERVER__CONFIG"


class ServerSettings(ServerSection):
    """The server's table, with what only the command line and the environment can say."""

    registry: Path | None = None
    state: Path | None = None
    config: Path | None = None


class Settings(BaseSettings, Config):
    """The whole configuration; any key can be set by environment, such as RECSYS_CACHE__USER_SECONDS."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, protected_namespaces=()
    )

    server: ServerSettings = ServerSettings()


def read(argv: Sequence[str] | None) -> tuple[Settings, Path]:
    """The settings of this process, and the registry that it serves.

    Raises:
        ConfigError: the file or a variable of the environment cannot be used.
        SystemExit: the command line is wrong (2), or asked for help (0).
    """
    parser = build_parser()
    flags = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
    settings = _merged(flags, os.environ)
    registry = settings.server.registry
    if registry is None:
        parser.error("give --registry DIR, or set RECSYS_SERVER__REGISTRY")
    return settings, registry


def address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; port 0 lets the system choose.

    Raises:
        ConfigError: it is not of that form.
    """
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ConfigError(f"{text!r} is not an address: write HOST:PORT, such as 127.0.0.1:50051")
    return host, int(port)


def _merged(flags: dict[str, Any], environ: Mapping[str, str]) -> Settings:
    """Flags over environment over file."""
    _check_sections(environ)
    path = flags.get("config") or environ.get(_CONFIG)
    tables = config.read_toml(Path(path)) if path else {}
    config.parse(Config, tables, str(path))  # alone first, so that a message about the file names the file

    class WithFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, tables)

    try:
        settings = config.parse(WithFile, {"server": flags}, f"environment ({_PREFIX}...)")
    except SettingsError as error:
        raise ConfigError(f"environment ({_PREFIX}...): {error}") from error
    address(settings.server.listen)
    if settings.server.metrics:
        address(settings.server.metrics)
    return settings


def _check_sections(environ: Mapping[str, str]) -> None:
    """Variables of a section that there is not would be ignored.

    Raises:
        ConfigError: names one, and the nearest section.
    """
    for name in sorted(environ):
        section, nested, _ = name.upper().removeprefix(_PREFIX).partition("__")
        if name.upper().startswith(_PREFIX) and nested and section.lower() not in Settings.model_fields:
            (near,) = difflib.get_close_matches(section.lower(), Settings.model_fields, n=1, cutoff=0)
            raise ConfigError(f"environment: {name}: unknown section, did you mean {_PREFIX}{near.upper()}__...?")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of the usage and a line."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _address(text: str) -> str:
    try:
        address(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = _Parser(
        prog="recsys-server",
        description="Serves the live bundle of a registry over gRPC, and follows it when it changes.",
        epilog="Every option can also be set by environment, such as RECSYS_SERVER__LISTEN. "
        "A flag wins over the environment, and that over the file.",
    )
    default = ServerSection()
    parser.add_argument("--registry", type=Path, metavar="DIR", help="where `recsys train` publishes bundles")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where events are kept; default: nowhere")
    parser.add_argument(
        "--listen", type=_address, metavar="HOST:PORT", help=f"gRPC address, default {default.listen}; port 0: any free"
    )
    parser.add_argument(
        "--metrics",
        type=lambda text: text and _address(text),
        metavar="HOST:PORT",
        help=f"Prometheus address, default {default.metrics}; empty: none",
    )
    parser.add_argument(
        "--workers",
        type=partial(count, most=MOST_WORKERS),
        metavar="N",
        help=f"processes that share the port, default {default.workers}",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file such as config/recsys.toml")
    return parser
