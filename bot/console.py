"""What all commands of the command line share; it loads nothing that `--help` would wait for."""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_T = TypeVar("_T")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def complete(coroutine: Coroutine[Any, Any, _T], *, serves: bool = False) -> _T:
    """Do asynchronous work to its end; Ctrl-C ends it in a sentence, with exit code 130.

    What `serves` others has the loop of `serving_loop`, which costs a command more to load.
    """
    import asyncio

    try:
        with asyncio.Runner(loop_factory=serving_loop if serves else None) as runner:
            return runner.run(coroutine)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was under way goes on with the next command.\n")
        raise typer.Exit(130) from None


def serving_loop() -> AbstractEventLoop:
    """Make the event loop that servers run on: uvloop, as in the measurement of the way in."""
    import uvloop

    return uvloop.new_event_loop()


def print_json(value: Any) -> None:
    """Print a value last and alone on standard output, so that a program can take that line."""
    sys.stdout.write(json.dumps(value) + "\n")
