"""GitHub as a person with a token of their own sees it, for a look from the command line."""

from __future__ import annotations

from bot.github.client import GitHubApp, Scope


class Visitor(GitHubApp):
    """Asks with one token, whatever it is about; close it when done."""

    def __init__(self, *, api_url: str, token: str) -> None:
        # No App: there is no key, and nothing is asked as one.
        super().__init__(api_url=api_url, app_id="0", private_key="")
        self._own = token

    async def token(self, scope: Scope) -> str:
        """Return the person's token."""
        return self._own
