"""What the policy of a decision was made of, so that others can make it again and compare.

A digest says that two policies are the same, and not what they said. Its grounds do: the commit of
the repository's configuration, the organisation's by the id of its content, and what the server
laid down. Whoever has the two repositories can do the rest without the server. All of it pure.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bot.runs.inforce import Above, InForce, read_config
from bot.runs.ports import Base
from policies.bounds import bounded
from policies.config import Config, form
from policies.organisation import parse_organisation


class Grounds(BaseModel):
    """What a policy was made of; what is empty was not there.

    `commit` is that of the default branch with the repository's own file, or with none.
    `organisation` is the id of the content of the file in the repository `above`, and `bounds` are
    the server's, as such a file is written. `form` names the settings and presets that there were.
    """

    model_config = ConfigDict(frozen=True)

    commit: str
    organisation: str = ""
    above: str = ""
    bounds: dict[str, Any] = Field(default_factory=dict)
    form: str = ""

    def recorded(self) -> dict[str, Any]:
        """Write it as a record keeps it: without what is empty."""
        return self.model_dump(exclude_defaults=True)


def grounds_of(found: InForce, base: Base, above: Above, bounds: Config) -> Grounds:
    """Name what the policy in force is made of: `bounds` are the server's."""
    return Grounds(
        # While the newest is wrong, it is of the commit of the last good one.
        commit=found.commit or base.configured_at,
        organisation=above.blob,
        above=above.name if above.blob else "",
        bounds=bounds.model_dump(mode="json", exclude_unset=True),
        form=form(),
    )


def made_again(grounds: Grounds, own: str, organisation: str) -> Config:
    """Make the policy anew of its grounds, from the texts of the two files.

    `ConfigError` names what cannot be read in the repository's own; a ValidationError says that the
    bounds are none.
    """
    above = Above(parse_organisation(organisation, grounds.above))
    # As they were read: what a file names binds, and what it leaves out does not.
    bounds = Config.model_validate_json(json.dumps(grounds.bounds), strict=True)
    return bounded(read_config(own, above), bounds)
