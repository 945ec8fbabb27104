"""Whether now is a time in which nothing is merged: at night, over the weekend, before a release.

`freeze:` lists such times, each with a name and the time zone that its clock is read in. The bot
merges nothing meanwhile: an approval is noted and counts, and `/approve` merges once it is over.
Runs go on, and what people merge by hand is theirs to decide.
"""

from __future__ import annotations

from datetime import datetime

from policies.config import Config
from policies.sections import Freeze
from policies.verdict import Verdict, all_of, code
from policies.windows import is_within, read_moment

RULE = "freeze"


def check_freeze(at: datetime, config: Config) -> Verdict:
    """Judge a moment, which names its zone, by the times in which nothing is merged."""
    if not config.freeze:
        return Verdict(True, RULE, "There is no time in which nothing is merged.")
    return all_of(RULE, [_judged(at, each) for each in config.freeze])


def _judged(at: datetime, freeze: Freeze) -> Verdict:
    start, end = read_moment(freeze.start), read_moment(freeze.end)
    if not is_within(start, end, freeze.timezone, at):
        return Verdict(True, "time", f"{code(freeze.name)} is not now.")
    return Verdict(
        False,
        "time",
        f"Nothing is merged before {freeze.end} ({freeze.timezone}), because of"
        f" {code(freeze.name)}; `/approve` it again then.",
    )
