"""Where a repository is, and the token that opens it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository that is fetched from and pushed to.

    `url` is an http(s) address, or the absolute path of a local repository. `token` is sent as the
    password of `x-access-token`, as GitHub takes the tokens of Apps and of people alike.
    Raises ValueError for an address that holds a password: addresses are shown and logged.
    """

    url: str
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.is_http:
            if urlsplit(self.url).password or urlsplit(self.url).username:
                raise ValueError("the address of a repository must not hold credentials")
        elif not self.url.startswith("/"):
            raise ValueError(f"{self.url!r} is neither an http address nor an absolute path")

    @property
    def is_http(self) -> bool:
        """Whether it is spoken to over HTTP, not read from this machine's disk."""
        return self.url.startswith(("https://", "http://"))

    @property
    def lfs_url(self) -> str:
        """The address of what Git LFS keeps for the repository."""
        if not self.is_http:
            return Path(self.url).as_uri()
        return f"{self.url.rstrip('/').removesuffix('.git')}.git/info/lfs"

    def header(self) -> tuple[str, str] | None:
        """Return git's configuration key and value that send the token, to this host alone."""
        if not self.token or not self.is_http:
            return None
        parts = urlsplit(self.url)
        secret = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        key = f"http.{parts.scheme}://{parts.netloc}/.extraHeader"
        return key, f"Authorization: Basic {secret}"
