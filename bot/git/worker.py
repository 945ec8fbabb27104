"""A process that does git work for another: calls come on standard input, answers go to output.

Each is pickled, behind its length. It ends with who started it, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import struct
import sys
from dataclasses import dataclass
from typing import Any

import pygit2

from bot.errors import Refused

LENGTH = struct.Struct(">Q")

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function returned, or the error that it raised."""

    value: Any = None
    error: Exception | None = None


def framed(data: bytes) -> bytes:
    """Return data behind its length, as both sides send it."""
    return LENGTH.pack(len(data)) + data


def serve() -> None:
    """Answer calls until there are no more."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed here is no answer
    while head := questions.read(LENGTH.size):
        (length,) = LENGTH.unpack(head)
        answers.write(framed(_answer(questions.read(length))))
        answers.flush()


def _answer(question: bytes) -> bytes:
    try:
        # From the process that started this one, over a pipe that nobody else holds.
        function, args, kwargs = pickle.loads(question)  # noqa: S301
        return pickle.dumps(Answer(function(*args, **kwargs)))
    except pygit2.GitError as error:
        # libgit2's own cannot be pickled: its class names a module that is not to be found.
        return pickle.dumps(Answer(error=Refused(f"The mirror cannot be used: {error}.")))
    except Exception as error:  # noqa: BLE001 - the caller's to handle, over there
        return pickle.dumps(Answer(error=error.with_traceback(None)))


if __name__ == "__main__":
    # Under its own name, since what is pickled says where its class is from.
    from bot.git.worker import serve as serve_here

    serve_here()
