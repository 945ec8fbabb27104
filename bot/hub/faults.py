"""How the hub is told to misbehave, for tests of whoever talks to it.

    hub.faults.fail("POST", "/repos/*/issues/*/comments", times=2, after=True)
    hub.faults.limit(retry_after=None)
    hub.faults.delay(0.2, path="/repos/*")
    hub.faults.webhooks("drop", event="issue_comment", times=1)

Paths are globs under `/api/v3`, or of the git addresses (`/acme/widgets.git/git-receive-pack`).
A rule holds for its next `times` matches (None: until `clear`); the first that matches counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

WebhookFault = Literal["drop", "duplicate", "delay", "shuffle"]


@dataclass(slots=True)
class Rule:
    """A fault and what it befalls; `times` counts down."""

    method: str
    path: str
    times: int | None
    seconds: float = 0.0
    status: int | None = None
    after: bool = False
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def matches(self, method: str, path: str) -> bool:
        """Whether this request is meant."""
        return fnmatchcase(method, self.method) and fnmatchcase(path, self.path)


@dataclass(slots=True)
class WebhookRule:
    """A fault of sending."""

    fault: WebhookFault
    event: str
    times: int | None
    seconds: float = 0.0


class Faults:
    """The rules in force; a fresh hub has none."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._webhooks: list[WebhookRule] = []
        self.refused_refs: str | None = None

    def fail(
        self,
        method: str = "*",
        path: str = "*",
        *,
        status: int = 502,
        times: int | None = 1,
        after: bool = False,
    ) -> None:
        """Answer `status`; with `after`, only once the request has had its effect."""
        message = "Server Error" if status >= 500 else "Refused"
        self._rules.append(Rule(method, path, times, 0.0, status, after, message))

    def limit(
        self,
        method: str = "*",
        path: str = "*",
        *,
        retry_after: int | None = 1,
        times: int | None = 1,
    ) -> None:
        """Answer 403 for the secondary rate limit, with `retry-after` in seconds or without."""
        message = "You have exceeded a secondary rate limit. Please wait a few minutes."
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        self._rules.append(Rule(method, path, times, 0.0, 403, False, message, headers))

    def delay(
        self, seconds: float, method: str = "*", path: str = "*", *, times: int | None = None
    ) -> None:
        """Wait before answering."""
        self._rules.append(Rule(method, path, times, seconds))

    def webhooks(
        self,
        fault: WebhookFault,
        event: str = "*",
        *,
        times: int | None = 1,
        seconds: float = 0.2,
    ) -> None:
        """Drop, duplicate, delay (by `seconds`) or shuffle (within `seconds`) deliveries."""
        self._webhooks.append(WebhookRule(fault, event, times, seconds))

    def armed(self) -> list[WebhookRule]:
        """The faults of sending that have not happened yet."""
        return list(self._webhooks)

    def refuse_refs(self, prefix: str | None) -> None:
        """Refuse pushes to refs that begin so, as some servers do with custom ones."""
        self.refused_refs = prefix

    def clear(self) -> None:
        """Behave again."""
        self._rules.clear()
        self._webhooks.clear()
        self.refused_refs = None

    def take(self, method: str, path: str) -> list[Rule]:
        """The delays and the one refusal that befall this request, counted down."""
        taken: list[Rule] = []
        for rule in list(self._rules):
            if not rule.matches(method, path):
                continue
            if rule.status is not None and any(t.status is not None for t in taken):
                continue
            taken.append(rule)
            if rule.times is not None:
                rule.times -= 1
                if rule.times <= 0:
                    self._rules.remove(rule)
        return taken

    def take_webhook(self, event: str) -> WebhookRule | None:
        """The fault that befalls this delivery, counted down."""
        for rule in self._webhooks:
            if fnmatchcase(event, rule.event):
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times <= 0:
                        self._webhooks.remove(rule)
                return rule
        return None
