"""The commands in the documents are ones that the programs take."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from recsys_offline.cli import build_parser as offline_parser
from recsys_server.settings import build_parser as server_parser

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *(ROOT / "docs").rglob("*.md")]
PARSERS = {"recsys": offline_parser, "recsys-server": server_parser}


def commands():
    """(page, words) of each command in a fenced block of shell, without prompts, paths, comments and pipes."""
    for page in PAGES:
        for block in re.findall(
            r"^```(?:console|sh|shell|bash)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            lines = block.replace("\\\n", " ").splitlines()
            typed = [line for line in lines if line.startswith("$ ")] or lines  # beside prompts, the rest is output
            for line in typed:
                lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                words = list(lexer)
                stop = next((place for place, word in enumerate(words) if word[0] in "|&;<>"), len(words))
                if words[:stop]:
                    yield page.relative_to(ROOT), [Path(words[0]).name, *words[1:stop]]


COMMANDS = [pytest.param(words, id=f"{page}: {' '.join(words)}") for page, words in commands()]


@pytest.mark.parametrize("words", [case for case in COMMANDS if case.values[0][0] in PARSERS])
def test_a_command_in_the_documents_is_understood(words, capsys):
    try:
        PARSERS[words[0]]().parse_args(words[1:])
    except SystemExit as stopped:
        if stopped.code != 0:
            pytest.fail(capsys.readouterr().err)


@pytest.mark.parametrize("words", [case for case in COMMANDS if case.values[0][0] == "make"])
def test_a_make_target_in_the_documents_exists(words):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words[1:] if "=" not in word} <= set(targets)


def test_the_documents_show_every_subcommand():
    shown = {case.values[0][1] for case in COMMANDS if case.values[0][0] == "recsys" and len(case.values[0]) > 1}
    (subparsers,) = (action for action in offline_parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert set(subparsers.choices) <= shown
