"""Which hosts a job may reach: rules by name, and addresses that no name may lead to. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from bot.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

WEB_PORTS: Final = frozenset({80, 443})
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b:1::/48")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an allow-list: `below` is for `*.host`; no port means those of the web."""

    host: str
    port: int | None
    below: bool

    def allows(self, host: str, port: int) -> bool:
        """Whether it lets a job reach that host, whose name is normal."""
        fits = host.endswith(f".{self.host}") if self.below else host == self.host
        return fits and (port in WEB_PORTS if self.port is None else port == self.port)


def rule(text: str) -> Rule:
    """Read `host`, `host:port` or `*.host`; `ConfigError` says what is wrong with another."""
    host, port = _split(text.strip())
    below = host.startswith("*.")
    name = normal(host[2:] if below else host)
    fine = name and (port is None or 0 < port < 65536)
    if not fine or (below and ("." not in name or literal(name) is not None)):
        raise ConfigError(
            f"{text[:100]!r} is not a host: write `example.org`, `example.org:8443` or "
            "`*.example.org`."
        )
    return Rule(name, port, below)


def normal(host: str) -> str:
    """Return a host's name as it is compared, or an empty text for what is none."""
    found = literal(host)
    if found is not None:
        return str(found)
    name = host.rstrip(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return ""
    fine = len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))
    # A name in digits is an address to some resolvers: 127.1, 0x7f000001, 2130706433.
    return name if fine and not _like_a_number(name) else ""


def _like_a_number(name: str) -> bool:
    return re.fullmatch(r"\d+|0x[0-9a-f]*", name.rpartition(".")[2]) is not None


def literal(host: str) -> Address | None:
    """Return the address that `host` is, when it is one."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def split(authority: str) -> tuple[str, int | None]:
    """Return the normal host and the port of `host:port`; an empty host for what is neither."""
    host, port = _split(authority)
    return normal(host), port


def shown(host: str, port: int) -> str:
    """Return `host:port` as it is written."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest.startswith(":") else ""
        if not closed or (rest and not port):
            return "", None
    elif text.count(":") > 1:  # an address without brackets, whose port cannot be told
        return "", None
    else:
        host, _, port = text.partition(":")
        if ":" in text and not port:
            return "", None
    if port and not re.fullmatch(r"\d{1,5}", port):
        return "", None
    return host, int(port) if port else None


def public(address: Address) -> bool:
    """Whether an address belongs to the internet, also where it is wrapped in another one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _nat64(address)
        if inner is not None:
            return public(inner)
        if address.teredo is not None or address in _TRANSLATED or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
