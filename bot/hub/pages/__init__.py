"""The hub's web pages, at GitHub's own paths.

Forms post to the address of the page they stand on and are answered by a redirect; where the action
is refused, the page is shown again with the reason. Nothing here changes a record: `actions` does.
"""

from __future__ import annotations

from pathlib import Path

from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from bot.hub.core import Hub
from bot.hub.pages import checks, code, home, issues, pulls
from bot.hub.pages.site import Action, Page, Site

STATIC = Path(__file__).parent / "static"

REPO = "/{owner}/{repo}"


def routes(hub: Hub) -> list[BaseRoute]:
    """The routes of all pages; they come after every other route of the hub.

    `/{owner}/{repo}` would take what others mean.
    """
    site = Site(hub)

    def page(path: str, show: Page, act: Action | None = None) -> list[BaseRoute]:
        found: list[BaseRoute] = [Route(path, site.show(show), methods=["GET"])]
        if act is not None:
            found.append(Route(path, site.act(act, show), methods=["POST"]))
        return found

    return [
        Mount("/_hub/static", StaticFiles(directory=STATIC)),
        Route("/_hub/user", site.act(home.choose, home.home), methods=["POST"]),
        *page("/", home.home),
        *page("/_hub/deliveries", home.deliveries),
        *page("/_hub/deliveries/{id:int}", home.delivery, home.redeliver),
        *page(f"{REPO}/tree/{{rest:path}}", code.tree),
        *page(f"{REPO}/blob/{{rest:path}}", code.blob),
        *page(f"{REPO}/raw/{{rest:path}}", code.raw),
        *page(f"{REPO}/commits", code.commits),
        *page(f"{REPO}/commits/{{rest:path}}", code.commits),
        *page(f"{REPO}/commit/{{sha:path}}", code.commit),
        *page(f"{REPO}/compare/{{rest:path}}", code.compare),
        *page(f"{REPO}/issues", issues.listing),
        *page(f"{REPO}/issues/new", issues.new, issues.open_issue),
        *page(f"{REPO}/issues/{{number:int}}", issues.show, issues.act),
        *page(f"{REPO}/pulls", issues.pulls),
        *page(f"{REPO}/pull/{{number:int}}.diff", pulls.diff),
        *page(f"{REPO}/pull/{{number:int}}", pulls.show, pulls.act),
        *page(f"{REPO}/pull/{{number:int}}/commits", pulls.commits),
        *page(f"{REPO}/pull/{{number:int}}/files", pulls.files, pulls.act_on_files),
        *page(f"{REPO}/pull/{{number:int}}/checks", pulls.checks),
        *page(f"{REPO}/runs/{{id:int}}", checks.show, checks.act),
        *page(REPO, code.repository),
    ]
