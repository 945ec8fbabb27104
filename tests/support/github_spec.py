"""Every exchange held against GitHub's own REST description.

The description is a gzipped JSON file, named by the environment: `version`, `components`, and
`ops`, each with `id`, `method`, `path`, `params`, `body` and `responses` as JSON Schema 2020-12.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import jsonschema_rs
import pytest

VARIABLE = "ORCHESTRATE_GITHUB_SPEC"

# Parts of a path that may hold slashes.
WITH_SLASHES = {"ref", "path", "basehead", "branch", "tree_sha"}

# Addresses that GitHub serves without describing them, and what they answer like.
ALIASES = ((re.compile(r"^/repositories/\d+$"), "/repos/o/r"),)

# What a refusal looks like, also where the description leaves the status out.
REFUSAL = {
    "type": "object",
    "required": ["message", "documentation_url"],
    "properties": {"message": {"type": "string"}, "documentation_url": {"type": "string"}},
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the description."""

    id: str
    method: str
    pattern: re.Pattern[str]
    literal: int
    params: tuple[Mapping[str, Any], ...]
    body: Mapping[str, Any] | None
    body_required: bool
    responses: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer; bodies are parsed JSON, None where there is none."""

    method: str
    path: str
    query: str
    request: Any
    status: int
    response: Any
    is_json: bool = True


@dataclass(slots=True)
class GitHubSpec:
    """The description, ready to check exchanges; `seen` holds the operations that were checked."""

    operations: list[Operation]
    components: Mapping[str, Any]
    seen: set[str] = field(default_factory=set)
    _validators: dict[tuple[str, ...], Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> GitHubSpec:
        """Read the description."""
        found = json.loads(gzip.decompress(path.read_bytes()))
        operations = [_operation(each) for each in found["ops"]]
        operations.sort(key=lambda o: -o.literal)
        return cls(operations, found["components"])

    def find(self, method: str, path: str) -> Operation | None:
        """The operation of a path, the most literal one first."""
        for pattern, like in ALIASES:
            path = like if pattern.match(path) else path
        matching = (o for o in self.operations if o.method == method and o.pattern.match(path))
        return next(matching, None)

    def check(self, exchange: Exchange) -> list[str]:
        """What is wrong with an exchange, in sentences; a request that was refused may be."""
        operation = self.find(exchange.method, exchange.path)
        if operation is None:
            return [f"There is no operation {exchange.method} {exchange.path}."]
        if exchange.status < 400:
            self.seen.add(operation.id)
        faults = list(self._response(operation, exchange))
        if exchange.status < 400:
            faults += [*self._request(operation, exchange), *self._query(operation, exchange)]
        return [f"{operation.id}: {fault}" for fault in faults]

    def _request(self, operation: Operation, exchange: Exchange) -> Iterator[str]:
        if operation.body is None:
            if exchange.request not in (None, {}):
                yield "the request has a body where none is taken."
        elif exchange.request is not None:
            yield from self._valid((operation.id, "body"), operation.body, exchange.request)
        elif operation.body_required:
            yield "the request lacks its body."

    def _query(self, operation: Operation, exchange: Exchange) -> Iterator[str]:
        known = {p["name"]: p["schema"] for p in operation.params if p["in"] == "query"}
        for name, text in parse_qsl(exchange.query):
            if name not in known:
                yield f"there is no query {name}."
                continue
            yield from self._valid(
                (operation.id, "query", name), known[name], _typed(known[name], text)
            )

    def _response(self, operation: Operation, exchange: Exchange) -> Iterator[str]:
        status = str(exchange.status)
        if exchange.status >= 400:
            yield from self._valid(("refusal",), REFUSAL, exchange.response)
            return
        if status not in operation.responses:
            if status != "304":
                yield f"the status {status} is not described."
            return
        schema = operation.responses[status]
        if schema is None or not exchange.is_json:
            if schema is None and exchange.response is not None:
                yield f"the answer {status} has a body where none is described."
            return
        yield from self._valid((operation.id, status), schema, exchange.response)

    def _valid(self, key: tuple[str, ...], schema: Mapping[str, Any], found: Any) -> Iterator[str]:
        if not schema:
            return
        if key not in self._validators:
            whole = {**schema, "components": self.components}
            self._validators[key] = jsonschema_rs.Draft202012Validator(
                whole, validate_formats=False
            )
        for error in self._validators[key].iter_errors(found):
            place = "/".join(map(str, error.instance_path))
            yield f"{' '.join(key[1:])} /{place}: {error.message[:200]}"


def _operation(given: Mapping[str, Any]) -> Operation:
    def part(match: re.Match[str]) -> str:
        return ".+" if match[1] in WITH_SLASHES else "[^/]+"

    path = given["path"]
    pattern = re.compile("^" + re.sub(r"\{([^}]+)\}", part, path.replace(".", r"\.")) + "$")
    literal = len(re.sub(r"\{[^}]+\}", "", path))
    return Operation(
        given["id"],
        given["method"],
        pattern,
        literal,
        tuple(given["params"]),
        given["body"],
        given["body_required"],
        given["responses"],
    )


def _typed(schema: Mapping[str, Any], text: str) -> Any:
    match schema.get("type"):
        case "integer" if text.lstrip("-").isdecimal():
            return int(text)
        case "boolean":
            return text == "true"
        case _:
            return text


class CheckedTransport(httpx.AsyncBaseTransport):
    """An httpx transport that notes what is wrong with every exchange under `prefix`."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport, spec: GitHubSpec | None, prefix: str
    ) -> None:
        self._inner = inner
        self._spec = spec
        self._prefix = prefix
        self.faults: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the request on, and check it with its answer."""
        response = await self._inner.handle_async_request(request)
        await response.aread()
        path = request.url.path
        if self._spec is not None and path.startswith(self._prefix):
            kind = response.headers.get("content-type", "")
            is_json = "json" in kind or not response.content
            exchange = Exchange(
                request.method,
                path.removeprefix(self._prefix),
                request.url.query.decode(),
                json.loads(request.content) if request.content else None,
                response.status_code,
                json.loads(response.content) if response.content and is_json else None,
                is_json,
            )
            self.faults += self._spec.check(exchange)
        return response

    async def aclose(self) -> None:
        """Close what is below."""
        await self._inner.aclose()


@cache
def _loaded(path: str) -> GitHubSpec:
    return GitHubSpec.load(Path(path))


def github_spec() -> GitHubSpec:
    """GitHub's description; skips the test where none is named."""
    path = os.environ.get(VARIABLE)
    if not path:
        pytest.skip(f"Set {VARIABLE} to GitHub's REST description to check answers against it.")
    return _loaded(path)


def github_spec_or_none() -> GitHubSpec | None:
    """GitHub's description, where one is named."""
    path = os.environ.get(VARIABLE)
    return _loaded(path) if path else None
