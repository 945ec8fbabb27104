"""Hosts as configurations and operators write them: `host`, `host:port` and `*.host`."""

from __future__ import annotations

WEB = frozenset({"80", "443"})
"""The ports of a host that is written without one."""


def allows(pattern: str, asked: str) -> bool:
    """Whether all that `asked` means is within what `pattern` allows."""
    host, port = _split(pattern)
    wanted, at = _split(asked)
    return at <= port and _covers(host, wanted)


def _covers(host: str, wanted: str) -> bool:
    if host == wanted:
        return True
    return host.startswith("*.") and wanted.removeprefix("*").endswith(host[1:])


def _split(written: str) -> tuple[str, frozenset[str]]:
    host, _, port = written.lower().partition(":")
    return host, frozenset({port}) if port else WEB
