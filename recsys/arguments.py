"""Values of command-line options, for both deployables."""

from __future__ import annotations

import argparse


def count(text: str, most: int | None = None) -> int:
    """A whole number from 1, and up to ``most`` where there is one.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1 or (most is not None and number > most):
        upper = "" if most is None else f" to {most}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1{upper}")
    return number
