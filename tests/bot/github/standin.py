"""The few addresses of GitHub that drawing needs, over plain lists, with the hub's faults."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.hub.faults import Faults
from tests.bot.github.runs import HEAD

BOT = "orchestrate[bot]"
R = "/repos/acme/widgets"
NOW = "2026-01-02T03:04:06Z"
Json = dict[str, Any]


class No(Exception):
    """A refusal in GitHub's own shape."""

    def __init__(self, status: int, message: str, *errors: Any) -> None:
        self.answer = JSONResponse({"message": message, "errors": list(errors)}, status)


@dataclass
class GitHub:
    """What stands there, and what is to go wrong."""

    faults: Faults = field(default_factory=Faults)
    comments: list[Json] = field(default_factory=list)
    review_comments: list[Json] = field(default_factory=list)
    pulls: list[Json] = field(default_factory=list)
    checks: list[Json] = field(default_factory=list)
    issues: list[Json] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    reactions: set[tuple[str, str]] = field(default_factory=set)
    collaborators: dict[str, str] = field(default_factory=dict)
    deliveries: list[Json] = field(default_factory=list)
    redelivered: list[int] = field(default_factory=list)
    commits: set[str] = field(default_factory=lambda: {HEAD})
    branch_head: str | None = HEAD
    merge_no: tuple[int, str] | None = None
    on_merge: Callable[[], None] = lambda: None
    mergeable_state: str = "clean"
    allows_drafts: bool = True
    lagging_lists: int = 0
    requests: list[str] = field(default_factory=list)
    next_id: int = 100

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    @property
    def writes(self) -> list[str]:
        """The requests that changed something, as `METHOD /path`."""
        return [r for r in self.requests if not r.startswith("GET") and "/app/" not in r]

    def app(self) -> Starlette:
        return Starlette(routes=[self._route(*each) for each in self._routes()])

    def _routes(self) -> list[tuple[str, str, Callable[[Request, Json], Any]]]:
        return [
            ("GET", "/app", lambda _r, _b: {"slug": "orchestrate"}),
            ("POST", "/app/installations/{id}/access_tokens", self._token),
            ("GET", "/app/installations", self._installations),
            ("GET", "/app/hook/deliveries", lambda _r, _b: self.deliveries),
            ("POST", "/app/hook/deliveries/{id:int}/attempts", self._redeliver),
            ("GET", "/repositories/7", self._repository),
            ("GET", R, self._repository),
            ("GET", R + "/collaborators", self._collaborators),
            ("GET", R + "/collaborators/{login}/permission", self._permission),
            ("GET", R + "/issues", self._list_issues),
            ("POST", R + "/issues", self._open_issue),
            ("GET", R + "/issues/comments", lambda _r, _b: self.comments),
            ("GET", R + "/issues/comments/{id:int}", self._comment),
            ("PATCH", R + "/issues/comments/{id:int}", self._edit_comment),
            ("POST", R + "/issues/comments/{id:int}/reactions", self._react),
            ("GET", R + "/issues/{n:int}", self._issue),
            ("PATCH", R + "/issues/{n:int}", self._edit_issue),
            ("GET", R + "/issues/{n:int}/comments", self._list_comments),
            ("POST", R + "/issues/{n:int}/comments", self._new_comment),
            ("GET", R + "/pulls", self._list_pulls),
            ("POST", R + "/pulls", self._open_pull),
            ("GET", R + "/pulls/{n:int}", self._pull),
            ("PATCH", R + "/pulls/{n:int}", self._edit_pull),
            ("PUT", R + "/pulls/{n:int}/merge", self._merge),
            ("POST", R + "/pulls/{n:int}/requested_reviewers", self._request),
            ("GET", R + "/pulls/{n:int}/comments", lambda _r, _b: self.review_comments),
            ("GET", R + "/pulls/{n:int}/reviews/{id:int}/comments", self._of_review),
            ("POST", R + "/pulls/{n:int}/comments/{id:int}/replies", self._answer),
            ("GET", R + "/pulls/comments/{id:int}", self._review_comment),
            ("GET", R + "/commits/{sha}/check-runs", self._list_checks),
            ("POST", R + "/check-runs", self._new_check),
            ("PATCH", R + "/check-runs/{id:int}", self._edit_check),
            ("POST", "/graphql", self._graphql),
        ]

    def _route(self, method: str, path: str, do: Callable[[Request, Json], Any]) -> Route:
        async def answer(request: Request) -> Response:
            told = request.url.path.removeprefix("/api/v3")
            self.requests.append(f"{request.method} {told}")
            raw = await request.body()
            rules = self.faults.take(request.method, told)
            await asyncio.sleep(sum(rule.seconds for rule in rules))
            fault = next((rule for rule in rules if rule.status), None)
            refused = fault and JSONResponse(
                {"message": fault.message}, fault.status or 500, dict(fault.headers)
            )
            if refused and fault and not fault.after:
                return refused
            try:
                made = do(request, json.loads(raw) if raw else {})
                made = await made if isinstance(made, Awaitable) else made
            except No as no:
                return no.answer
            if refused:
                return refused
            created = 201 if request.method == "POST" and path != "/graphql" else 200
            return made if isinstance(made, Response) else JSONResponse(made, created)

        prefix = "/api" if path == "/graphql" else "/api/v3"
        return Route(prefix + path, answer, methods=[method])

    # -- the app

    def _token(self, _request: Request, _body: Json) -> Json:
        return {"token": "t", "expires_at": "2999-01-01T00:00:00Z"}

    def _installations(self, _request: Request, _body: Json) -> list[Json]:
        return [
            {"id": 3, "account": {"login": "acme"}, "suspended_at": None},
            {"id": 4, "account": {"login": "gone"}, "suspended_at": NOW},
        ]

    def _redeliver(self, request: Request, _body: Json) -> Json:
        self.redelivered.append(request.path_params["id"])
        return {}

    def _repository(self, _request: Request, _body: Json) -> Json:
        return {
            "id": 7,
            "name": "widgets",
            "owner": {"login": "acme"},
            "default_branch": "main",
            "clone_url": "https://git.example/acme/widgets.git",
        }

    def _collaborators(self, _request: Request, _body: Json) -> list[Json]:
        return [{"login": n, "role_name": r} for n, r in self.collaborators.items()]

    def _permission(self, request: Request, _body: Json) -> Json:
        role = self.collaborators.get(request.path_params["login"])
        if role is None:
            raise No(404, "Not Found")
        rounded = {"maintain": "write", "triage": "read", "reviewers": "read"}
        return {"permission": rounded.get(role, role), "role_name": role}

    # -- issues and comments

    def _list_issues(self, request: Request, _body: Json) -> Response:
        body = json.dumps(self.issues).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304)
        return Response(body, headers={"etag": etag})

    def _open_issue(self, _request: Request, body: Json) -> Json:
        user = {"login": BOT, "type": "Bot"}
        issue = {"number": self.new_id(), "user": user, "state": "open", "updated_at": NOW, **body}
        self.issues.append(issue)
        return issue

    def _issue(self, request: Request, _body: Json) -> Json:
        return self._one(self.issues, "number", request.path_params["n"])

    def _edit_issue(self, request: Request, body: Json) -> Json:
        issue = self._issue(request, {})
        issue.update(body)
        return issue

    def _list_comments(self, request: Request, _body: Json) -> list[Json]:
        return [c for c in self.comments if c["number"] == request.path_params["n"]]

    def say(self, number: int, body: str, login: str = "writer") -> Json:
        """Comment, as somebody."""
        self.comments.append(
            {
                "id": self.new_id(),
                "number": number,
                "body": body,
                "user": {"login": login, "type": "User"},
                "issue_url": f"https://git.example/api/v3{R}/issues/{number}",
                "created_at": NOW,
                "updated_at": NOW,
            }
        )
        return self.comments[-1]

    def _new_comment(self, request: Request, body: Json) -> Json:
        return self.say(request.path_params["n"], body["body"], BOT)

    def _comment(self, request: Request, _body: Json) -> Json:
        return self._one(self.comments, "id", request.path_params["id"])

    def _edit_comment(self, request: Request, body: Json) -> Json:
        comment = self._comment(request, {})
        comment.update(body)
        return comment

    def _react(self, request: Request, body: Json) -> Json:
        self._comment(request, {})
        self.reactions.add((request.url.path, body["content"]))
        return {}

    # -- pull requests

    def _list_pulls(self, request: Request, _body: Json) -> list[Json]:
        self.lagging_lists -= 1
        if self.lagging_lists >= 0:
            return []
        head = request.query_params["head"].removeprefix("acme:")
        return [p for p in self.pulls if p["head"]["ref"] == head]

    def _open_pull(self, _request: Request, body: Json) -> Json:
        if self.branch_head is None:
            raise No(422, "Validation Failed", {"field": "head", "code": "invalid"})
        if body["draft"] and not self.allows_drafts:
            raise No(422, "Draft pull requests are not supported in this repository.")
        there = [p for p in self.pulls if p["state"] == "open"]
        if any(p["head"]["ref"] == body["head"] for p in there):
            text = f"A pull request already exists for acme:{body['head']}."
            raise No(422, "Validation Failed", {"message": text})
        number = self.new_id()
        pull = {
            **body,
            "number": number,
            "node_id": f"PR_{number}",
            "state": "open",
            "merged": False,
            "head": {"ref": body["head"], "sha": self.branch_head, "repo": {"id": 7}},
            "base": {"ref": body["base"]},
            "user": {"login": BOT},
        }
        self.pulls.append(pull)
        return pull

    def _pull(self, request: Request, _body: Json) -> Json:
        found = self._one(self.pulls, "number", request.path_params["n"])
        return found | {"mergeable_state": self.mergeable_state}

    def _edit_pull(self, request: Request, body: Json) -> Json:
        pull = self._one(self.pulls, "number", request.path_params["n"])
        pull.update(body)
        return pull

    def _merge(self, request: Request, body: Json) -> Json:
        pull = self._one(self.pulls, "number", request.path_params["n"])
        self.on_merge()
        if self.merge_no:
            raise No(*self.merge_no)
        if pull["draft"]:
            raise No(405, "Pull Request is still a draft")
        if pull["head"]["sha"] != body["sha"]:
            raise No(409, "Head branch was modified. Review and try the merge again.")
        pull.update(merged=True, state="closed", merge_commit_sha="f" * 40)
        return {"merged": True, "sha": "f" * 40}

    def _request(self, _request: Request, body: Json) -> Json:
        if "outsider" in body["reviewers"]:
            raise No(422, "Reviews may only be requested from collaborators.")
        self.reviewers += body["reviewers"]
        return {}

    def _of_review(self, request: Request, _body: Json) -> list[Json]:
        id = request.path_params["id"]
        return [c for c in self.review_comments if c.get("pull_request_review_id") == id]

    def _answer(self, request: Request, body: Json) -> Json:
        answered = request.path_params["id"]
        made = {"id": self.new_id(), "in_reply_to_id": answered, "user": {"login": BOT}, **body}
        self.review_comments.append(made)
        return made

    def _review_comment(self, request: Request, _body: Json) -> Json:
        return self._one(self.review_comments, "id", request.path_params["id"])

    def _graphql(self, _request: Request, body: Json) -> Json:
        self._one(self.pulls, "node_id", body["variables"]["id"])["draft"] = False
        return {"data": {}}

    # -- check runs

    def _list_checks(self, request: Request, _body: Json) -> Json:
        found = [c for c in self.checks if c["head_sha"] == request.path_params["sha"]]
        return {"total_count": len(found), "check_runs": found}

    def _new_check(self, _request: Request, body: Json) -> Json:
        if body["head_sha"] not in self.commits:
            raise No(422, f"No commit found for SHA: {body['head_sha']}")
        check = {"id": self.new_id(), "notes": [], "conclusion": None, **body}
        self.checks.append(check)
        return self._with_notes(check, body)

    def _edit_check(self, request: Request, body: Json) -> Json:
        check = self._one(self.checks, "id", request.path_params["id"])
        return self._with_notes(check, body)

    def _with_notes(self, check: Json, body: Json) -> Json:
        notes = body.get("output", {}).get("annotations", [])
        if len(notes) > 50:
            raise No(422, "No more than 50 annotations may be given at once.")
        check["notes"] += notes
        check.update(body)
        count = len(check["notes"])
        return check | {"output": {**check["output"], "annotations_count": count}}

    def _one(self, of: list[Json], key: str, value: object) -> Json:
        for each in of:
            if each[key] == value:
                return each
        raise No(404, "Not Found")
