"""The only ways out of a sandbox: a proxy to models, and one to the hosts that policy allows."""

from __future__ import annotations

from bot.sandbox.gateway.gateway import Gateway
from bot.sandbox.gateway.model import Allowance, Blocked, Failure, Pass, Visit
from bot.sandbox.gateway.prices import Prices

__all__ = ["Allowance", "Blocked", "Failure", "Gateway", "Pass", "Prices", "Visit"]
