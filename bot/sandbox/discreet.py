"""A sandbox whose jobs' output shows none of the secrets that the server knows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.sandbox.model import Job
from bot.sandbox.wrapped import Wrapped


@dataclass(frozen=True, slots=True)
class Discreet(Wrapped):
    """Runs jobs in `inner`, and keeps `secrets` out of their logs, tails and lines.

    A job is given none of them; but one without a sandbox may find them, and print them.
    """

    secrets: frozenset[str]

    def changed(self, job: Job) -> Job:
        """The job, with these secrets beside its own."""
        return replace(job, secrets=job.secrets | self.secrets)
