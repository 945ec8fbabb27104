"""The operator's own mirrors of registries, as the variables of package managers name them.

They are handed to a set-up as they are, and the hosts that they name may be reached. A file of
authorities is named to it where it can be read there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

_ADDRESSES: Final = re.compile(
    r"PIP_(EXTRA_)?INDEX_URL|UV_(DEFAULT_|EXTRA_)?INDEX(_URL)?"
    r"|(npm_config|NPM_CONFIG)_(registry|REGISTRY)|GOPROXY|GOSUMDB"
    r"|CARGO_REGISTRIES_[A-Z0-9_]+_INDEX"
)
_PLAIN: Final = frozenset({"PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "GONOSUMDB", "GONOSUMCHECK"})
_AUTHORITIES: Final = frozenset(
    {
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"),
        *("NODE_EXTRA_CA_CERTS", "npm_config_cafile", "NPM_CONFIG_CAFILE", "CARGO_HTTP_CAINFO"),
    }
)
# What every job sees of the host.
_SEEN: Final = (PurePosixPath("/etc/ssl/certs"), PurePosixPath("/usr"))
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Variables for a set-up; the hosts that they name, each with its port; what to keep hidden."""

    env: Mapping[str, str]
    hosts: tuple[str, ...]
    secrets: frozenset[str]


def mirrors(environ: Mapping[str, str]) -> Mirrors:
    """Read the operator's mirrors from the server's own variables."""
    env = {name: value for name, value in environ.items() if value and _is_for_setups(name, value)}
    named = [
        address
        for name, value in env.items()
        if _ADDRESSES.fullmatch(name)
        for address in _addresses(value)
    ]
    hosts = dict.fromkeys(f"{each.hostname}:{_port(each)}" for each in named)
    return Mirrors(env, tuple(hosts), frozenset(s for each in named for s in _secrets(each)))


def _is_for_setups(name: str, value: str) -> bool:
    if name in _AUTHORITIES:
        path = PurePosixPath(value)
        return ".." not in path.parts and any(path.is_relative_to(seen) for seen in _SEEN)
    return name in _PLAIN or _ADDRESSES.fullmatch(name) is not None


def _addresses(value: str) -> Iterator[SplitResult]:
    """Read the addresses of a value: pip separates several by blanks, go by commas and bars."""
    for word in re.split(r"[\s,|]+", value):
        # uv writes `name=address`, cargo `sparse+address`.
        start = re.search(r"https?://", word)
        address = urlsplit(word[start.start() :]) if start else None
        if address and address.hostname:
            yield address


def _port(address: SplitResult) -> int:
    return address.port or _PORTS[address.scheme]


def _secrets(address: SplitResult) -> Iterator[str]:
    if address.password:
        yield unquote(address.password)
        yield address.password
