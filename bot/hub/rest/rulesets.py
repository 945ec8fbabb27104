"""Rules of branches: rulesets, which everybody may read, and the older branch protection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.hub.access import require
from bot.hub.actions import protection
from bot.hub.clock import stamp
from bot.hub.records import Repository, Ruleset
from bot.hub.refusals import not_found
from bot.hub.render import Json
from bot.hub.render import repos as render
from bot.hub.render.repos import api_url
from bot.hub.rest.door import CREATED, Call, Reply, Table

SCOPE = "administration"


def _administers(call: Call) -> Repository:
    repo = call.repo
    require(call.actor, repo, SCOPE, "write", "admin")
    return repo


def _put(
    call: Call, repo: Repository, name: str, branches: Sequence[str], rules: Sequence[Json],
    *, classic: bool = False,
) -> Ruleset:  # fmt: skip
    made = Ruleset(
        id=call.hub.state.rulesets.next_id(),
        repo_id=repo.id,
        name=name,
        branches=tuple(branches),
        rules=tuple(rules),
        created_at=call.hub.clock.now(),
        classic=classic,
    )
    return call.hub.state.rulesets.put(made)


async def create_ruleset(call: Call) -> Reply:
    """Lay down rules; they hold at once, for everybody."""
    repo, rules = _administers(call), call.body.get("rules") or []
    names = (call.body.get("conditions") or {}).get("ref_name") or {}
    if not all(isinstance(each, Mapping) and "type" in each for each in rules):
        raise call.wrong("rules")
    made = _put(call, repo, call.needed("name"), names.get("include") or ["~ALL"], rules)
    return Reply(_shown(call, repo, made), CREATED)


def _shown(call: Call, repo: Repository, made: Ruleset) -> Json:
    url = f"{api_url(call.hub, repo)}/rulesets/{made.id}"
    return {
        "id": made.id,
        "name": made.name,
        "target": "branch",
        "source_type": "Repository",
        "source": call.hub.full_name(repo),
        "enforcement": "active",
        "bypass_actors": [],
        "node_id": f"RRS_{made.id}",
        "_links": {"self": {"href": url}},
        "conditions": {"ref_name": {"include": list(made.branches), "exclude": []}},
        "rules": list(made.rules),
        "created_at": stamp(made.created_at),
        "updated_at": stamp(made.created_at),
    }


async def delete_ruleset(call: Call) -> Reply:
    """Take rules away."""
    repo, found = _administers(call), call.hub.state.rulesets.get(call.params["id"])
    if found is None or found.repo_id != repo.id or found.classic:
        raise not_found()
    call.hub.state.rulesets.drop(found.id)
    return Reply(status=204)


async def list_rules(call: Call) -> Reply:
    """The rules of rulesets that hold for a branch, which need not be there yet."""
    repo = call.reads("metadata")
    found = protection.rulesets_of(call.hub, repo, call.params["branch"])
    source = {"ruleset_source_type": "Repository", "ruleset_source": call.hub.full_name(repo)}
    rules = [
        {**rule, **source, "ruleset_id": each.id}
        for each in found
        if not each.classic
        for rule in each.rules
    ]
    return call.page(rules, lambda rule: rule)


async def protect(call: Call) -> Reply:
    """Protect one branch in the older way, in place of what protected it so before."""
    repo, branch = _administers(call), call.params["branch"]
    for each in call.hub.state.rulesets.where(repo=repo.id):
        if each.classic and each.branches == (branch,):
            call.hub.state.rulesets.drop(each.id)
    _put(call, repo, branch, [branch], list(_rules(call.body)), classic=True)
    url = f"{api_url(call.hub, repo)}/branches/{branch}/protection"
    linear = bool(call.body.get("required_linear_history"))
    return Reply({"url": url, "required_linear_history": {"enabled": linear}})


def _rules(body: Mapping[str, Any]) -> list[Json]:
    rules: list[Json] = []
    if (reviews := body.get("required_pull_request_reviews")) is not None:
        parameters = {
            "required_approving_review_count": reviews.get("required_approving_review_count", 1),
            "dismiss_stale_reviews_on_push": bool(reviews.get("dismiss_stale_reviews")),
            "require_code_owner_review": bool(reviews.get("require_code_owner_reviews")),
            "require_last_push_approval": bool(reviews.get("require_last_push_approval")),
            "required_review_thread_resolution": False,
        }
        rules.append({"type": "pull_request", "parameters": parameters})
    if (checks := body.get("required_status_checks")) is not None:
        named = [{"context": name} for name in checks.get("contexts", ())]
        parameters = {
            "required_status_checks": named,
            "strict_required_status_checks_policy": False,
        }
        rules.append({"type": "required_status_checks", "parameters": parameters})
    if body.get("required_linear_history"):
        rules.append({"type": "required_linear_history"})
    return rules


async def demand_signatures(call: Call) -> Reply:
    """Take signed commits only on a branch that is protected in the older way."""
    repo, branch = _administers(call), call.params["branch"]
    for each in call.hub.state.rulesets.where(repo=repo.id):
        if each.classic and each.branches == (branch,):
            rules = (*each.rules, {"type": "required_signatures"})
            call.hub.state.rulesets.put(replace(each, rules=rules))
            url = f"{api_url(call.hub, repo)}/branches/{branch}/protection/required_signatures"
            return Reply({"url": url, "enabled": True})
    raise not_found()


async def update_repo(call: Call) -> Reply:
    """Change a repository's settings: of all that GitHub has, whether it merges by itself."""
    repo = _administers(call)
    if (wanted := call.body.get("allow_auto_merge")) is not None:
        repo = call.hub.state.repositories.put(replace(repo, auto_merge=bool(wanted)))
    return Reply(render.full(call.hub, repo, call.actor))


R = "/repos/{owner}/{repo}"
PROTECTION = R + "/branches/{branch}/protection"

TABLE: Table = [
    ("PATCH", R, update_repo),
    ("POST", R + "/rulesets", create_ruleset),
    ("DELETE", R + "/rulesets/{id:int}", delete_ruleset),
    ("GET", R + "/rules/branches/{branch:path}", list_rules),
    ("PUT", PROTECTION, protect),
    ("POST", PROTECTION + "/required_signatures", demand_signatures),
]
