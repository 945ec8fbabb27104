"""What all commands of the command line share; it loads nothing that `--help` would wait for."""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer

_T = TypeVar("_T")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def complete(coroutine: Coroutine[Any, Any, _T], *, takes_in: bool = False) -> _T:
    """Do asynchronous work to its end; Ctrl-C ends it in a sentence, with exit code 130.

    What only `takes_in` deliveries runs on uvloop, as in the measurement of the way in. What starts
    programs does not: for each, uvloop forks, which holds a server of 150 MB for 20 ms (asyncio's
    own borrows the memory, and takes 2), and it closes pipes by their number once more when another
    thread may have that number.
    """
    import asyncio

    loop = None
    if takes_in:
        import uvloop

        loop = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(coroutine)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was under way goes on with the next command.\n")
        raise typer.Exit(130) from None


def print_json(value: Any) -> None:
    """Print a value last and alone on standard output, so that a program can take that line."""
    sys.stdout.write(json.dumps(value) + "\n")
