"""What the doctor says of models: whose keys are there, never the keys, and how old prices are."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from bot.errors import OperatorError
from bot.sandbox.gateway.makers import KEYS, Maker, configured
from bot.sandbox.gateway.prices import Prices

# Makers change prices several times a year.
STALE: Final = datetime.timedelta(days=180)


class Finding(NamedTuple):
    """One line for `orchestrate doctor`."""

    name: str
    ok: bool
    needed: bool
    sentence: str


def findings(
    environ: Mapping[str, str], prices: Path | None, *, today: datetime.date | None = None
) -> list[Finding]:
    """Say of each maker whether its models can be used, and how old the prices are."""
    return [*_models(environ), _prices(prices, today)]


def _models(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        found = configured(environ)
    except OperatorError as error:
        yield Finding("models", False, True, str(error))
        return
    for name, keys in KEYS.items():
        maker = found.get(name)
        if maker is None:
            yield Finding(f"models: {name}", False, False, f"No key; set {keys} to use them.")
        else:
            yield _maker(maker)


def _maker(maker: Maker) -> Finding:
    by = f"by {maker.key}" if maker.key else "without a key"
    parts = urlsplit(maker.base)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    safe = parts.scheme == "https" or not maker.key or _here(parts.hostname or "")
    warning = "" if safe else " The key is sent unencrypted: use https."
    return Finding(f"models: {maker.name}", safe, False, f"{address}, {by}.{warning}")


def _here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _prices(path: Path | None, today: datetime.date | None) -> Finding:
    try:
        prices = Prices.load(path)
    except OperatorError as error:
        return Finding("prices", False, True, str(error))
    day = today or datetime.datetime.now(tz=datetime.UTC).date()
    newest = max(prices.dates)
    own = f", with yours from {path} over them" if path else ""
    say = f"{len(prices.by_name)} models, as published on {newest}{own}."
    if day - newest <= STALE:
        return Finding("prices", True, False, say)
    return Finding(
        "prices", False, False, f"{say} That is long ago: update, or set ORCHESTRATE_PRICES."
    )
