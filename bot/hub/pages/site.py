"""What every page has in common: who visits, how it is rendered, what a form may do."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bot.hub.access import Actor, Anonymous, Person, can_see, role_of
from bot.hub.actions.issues import find
from bot.hub.core import Hub
from bot.hub.pages.showing import helpers
from bot.hub.records import Issue, Pull, Repository, User
from bot.hub.refusals import Refusal, forbidden, not_found
from bot.hub.repositories import Bare, Commit, GitFailed

P = ParamSpec("P")
T = TypeVar("T")

# Who a visitor says to be; there is nothing to prove on a hub that runs on one's own machine.
COOKIE = "user"

# Nothing from elsewhere, and no script or style inside a page: what a comment smuggles in is dead.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

# GitHub's limit on a body is 65,536 characters; a review may have many line comments.
FORM_PART_LIMIT = 1_000_000
FORM_FIELDS = 1_000

FIELD_PROBLEMS = {
    "missing": "is missing",
    "missing_field": "is missing",
    "already_exists": "exists already",
    "invalid": "is not valid",
    "unprocessable": "cannot be taken",
}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of one visitor; `error` and `form` are what a refused form brings back."""

    site: Site
    request: Request
    actor: Actor
    error: str = ""
    status: int = 200
    form: FormData = field(default_factory=FormData)

    @property
    def hub(self) -> Hub:
        """The hub that is visited."""
        return self.site.hub

    @property
    def user(self) -> User | None:
        """Who visits, where that was said."""
        return self.actor.user if isinstance(self.actor, Person) else None

    @property
    def repository(self) -> Repository:
        """The repository that the path names, where the visitor may see it."""
        owner, name = self.request.path_params["owner"], self.request.path_params["repo"]
        found = self.hub.repository(f"{owner}/{name}")
        if found is None or not can_see(self.actor, found):
            raise not_found()
        return found

    @property
    def number(self) -> int:
        """The number that the path names."""
        return int(self.request.path_params["number"])

    @property
    def issue(self) -> Issue:
        """The issue or pull request's conversation that the path names."""
        return find(self.hub, self.repository, self.number)

    @property
    def pull(self) -> Pull:
        """The pull request that the path names."""
        found = self.hub.state.pulls.one(number=(self.repository.id, self.number))
        if found is None:
            raise not_found()
        return found

    def base(self, repo: Repository) -> str:
        """The path of a repository's page."""
        return f"/{self.hub.full_name(repo)}"

    async def git(
        self, method: Callable[Concatenate[Bare, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Ask the repository on disk, in a thread."""
        return await self.hub.git(self.repository, method, *args, **kwargs)

    def page(self, template: str, **context: Any) -> Response:
        """Render a page. With `?fragment=1` only what lives, and 304 where that is unchanged."""
        fragment = self.request.method == "GET" and "fragment" in self.request.query_params
        people = [u for u in self.hub.state.users if u.kind == "User"]
        common = {
            "visit": self,
            "user": self.user,
            "people": people,
            "error": self.error,
            "typed": self.form,
            "layout": "fragment.html" if fragment else "page.html",
        }
        text = self.site.templates.get_template(template).render({**common, **context})
        answer = HTMLResponse(text, self.status, HEADERS)
        if fragment:
            tag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
            answer.headers["ETag"] = tag
            if self.request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers={**HEADERS, "ETag": tag})
        return answer

    def repository_page(self, template: str, tab: str, **context: Any) -> Response:
        """Render a page of a repository, under its heading and tabs."""
        repo = self.repository
        issues = self.hub.state.issues.where(repo=repo.id)
        opened = [i for i in issues if i.state == "open"]
        counts = {
            "issues": sum(not i.is_pull for i in opened),
            "pulls": sum(i.is_pull for i in opened),
        }
        role = role_of(repo, self.user) if self.user else "none"
        known = {"repo": repo, "base": self.base(repo), "tab": tab, "counts": counts, "role": role}
        return self.page(template, **known, **context)


Page = Callable[[Visit], Awaitable[Response]]
Action = Callable[[Visit, FormData], Awaitable[str | Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Site:
    """The pages of one hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.templates = Environment(
            loader=PackageLoader("bot.hub.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.globals.update(helpers(hub))
        self.pull_commits: dict[tuple[int, str, str], list[Commit]] = {}

    def visit(self, request: Request) -> Visit:
        """Who comes with this request."""
        user = self.hub.user(request.cookies.get(COOKIE, ""))
        actor = Person(user) if user is not None and user.kind == "User" else Anonymous()
        return Visit(self, request, actor)

    def show(self, page: Page) -> Endpoint:
        """An endpoint that shows `page`, or says in a sentence why it does not."""

        @wraps(page)
        async def endpoint(request: Request) -> Response:
            visit = self.visit(request)
            try:
                return await page(visit)
            except (Refusal, GitFailed) as reason:
                return _refused(visit, _as_refusal(reason))

        return endpoint

    def act(self, action: Action, page: Page) -> Endpoint:
        """An endpoint that takes the form of `page`.

        What `action` returns is the address to go on to, or an answer of its own. Where it refuses,
        the page is shown again with the reason and with what was typed.
        """

        @wraps(action)
        async def endpoint(request: Request) -> Response:
            visit = self.visit(request)
            form = FormData()
            try:
                _same_origin(request)
                form = await request.form(
                    max_fields=FORM_FIELDS, max_files=0, max_part_size=FORM_PART_LIMIT
                )
                done = await action(visit, form)
                self.hub.state.commit()
            except (Refusal, GitFailed) as reason:
                self.hub.state.commit()  # what was done before the refusal stands, as on GitHub
                return await _again(visit, page, _as_refusal(reason), form)
            if isinstance(done, Response):
                return done
            return RedirectResponse(done, status_code=303, headers=HEADERS)

        return endpoint


async def _again(visit: Visit, page: Page, refusal: Refusal, form: FormData) -> Response:
    said = sentence(refusal, visit.user)
    back = replace(visit, error=said, status=refusal.code, form=form)
    try:
        return await page(back)
    except (Refusal, GitFailed) as reason:
        return _refused(visit, _as_refusal(reason))


def _as_refusal(reason: Refusal | GitFailed) -> Refusal:
    """What git refused, mostly objects that are gone, as the REST tells it."""
    return reason if isinstance(reason, Refusal) else Refusal(422, f"Git refused: {reason}")


def _refused(visit: Visit, refusal: Refusal) -> Response:
    said = sentence(refusal, visit.user)
    return replace(visit, error=said, status=refusal.code).page("refused.html")


def _same_origin(request: Request) -> None:
    """Refuse a form that another site's page sent."""
    host = request.headers.get("host", "")
    source = request.headers.get("origin") or request.headers.get("referer") or ""
    if not source or urlsplit(source).netloc != host:
        raise Refusal(403, "This form was not sent from this site: open the page here and send it.")


def sentence(refusal: Refusal, user: User | None) -> str:
    """A refusal in one sentence for whoever reads the page."""
    said = [_problem(error) for error in refusal.errors]
    text = "; ".join(part for part in said if part) or refusal.message
    if refusal.code == 401:
        return "Choose who you are, at the top right: nobody in particular may only read."
    if refusal.code == 403 and user is not None and text == forbidden().message:
        return f"{user.login} may not do this here: it takes a higher role in the repository."
    if refusal.code == 404 and text == "Not Found":
        who = user.login if user else "visitors who have not said who they are"
        return f"There is nothing here, or nothing that {who} may see."
    return text[:1].upper() + text[1:]


def _problem(error: Mapping[str, object] | str) -> str:
    if isinstance(error, str):
        return error
    if message := error.get("message"):
        return str(message)
    code = str(error.get("code", ""))
    return f"the {error.get('field', 'form')} {FIELD_PROBLEMS.get(code, code)}"


def text_of(form: FormData, name: str) -> str:
    """A field of a form, with line ends as GitHub keeps them; empty where it is missing."""
    found = form.get(name)
    return found.replace("\r\n", "\n") if isinstance(found, str) else ""


def local(address: str) -> str:
    """`address` where it is a path on this site, else the first page."""
    is_path = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_path and address.isprintable() else "/"
