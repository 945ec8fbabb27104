"""Pull requests: open, edit, un-draft, ask for reviews, merge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from bot.hub.access import (
    Actor,
    Installed,
    Person,
    Somebody,
    app_id,
    at_least,
    covers,
    require,
    role_of,
    somebody,
)
from bot.hub.actions import forks, issues, merging, protection
from bot.hub.actions.issues import tell_pull
from bot.hub.actions.pushes import BRANCH, Moved, mark_merged, moved
from bot.hub.actions.texts import checked_body, checked_title
from bot.hub.core import Hub
from bot.hub.records import Issue, Pull, Repository, User
from bot.hub.refusals import Refusal, forbidden, invalid, not_found, unprocessable
from bot.hub.render.pulls import conversation
from bot.hub.render.users import user as render_user
from bot.hub.repositories import Bare, GitFailed

SCOPE = "pull_requests"

METHODS = ("merge", "squash", "rebase")

# GitHub's keywords; they count where the pull request is merged into the default branch.
CLOSES = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+#(\d+)\b", re.IGNORECASE)


def find(hub: Hub, repo: Repository, number: int) -> Pull:
    """The pull request of this number."""
    found = hub.state.pulls.one(number=(repo.id, number))
    if found is None:
        raise not_found()
    return found


async def create(
    hub: Hub,
    actor: Actor,
    repo: Repository,
    *,
    title: str,
    head: str,
    base: str,
    body: str | None = None,
    draft: bool = False,
    maintainer_can_modify: bool = True,
    head_repo: str | None = None,
) -> Pull:
    """Open a pull request from branch `head` (or `owner:branch`) of the repository or a fork.

    `head_repo` says which, where the owner has several. Maintainers are let modify it as its
    author says, where the fork belongs to a person.
    """
    require(actor, repo, SCOPE, "write")
    who = somebody(actor)
    title = checked_title("PullRequest", title)
    body = checked_body("PullRequest", body)
    owner, _, head = head.rpartition(":")
    home = forks.named(hub, repo, owner, head_repo)
    if home is None:
        raise invalid("PullRequest", "head", "invalid")
    foreign = home.id != repo.id
    if foreign:
        require(actor, home, SCOPE, "write", "write")
    async with hub.lock(repo):
        head, head_sha = await _branch(hub, home, "head", head)
        if foreign:
            await hub.git(repo, Bare.bring, hub.bare(home).folder, head_sha)
        base, base_sha = await _branch(hub, repo, "base", base)
        _no_twin(hub, repo, home, head, base)
        if await hub.git(repo, Bare.contains, base_sha, head_sha):
            raise _custom(f"No commits between {base} and {head}")
        number = hub.state.next_number(repo.id)
        issue = _conversation(hub, who, repo, number, title, body)
        pull = Pull(
            id=hub.state.pulls.next_id(),
            repo_id=repo.id,
            number=number,
            head_ref=head,
            head_sha=head_sha,
            base_ref=base,
            base_sha=base_sha,
            draft=draft,
            maintainer_can_modify=(
                maintainer_can_modify and foreign and hub.owner(home).kind == "User"
            ),
            head_repo_id=home.id if foreign else None,
        )
        hub.state.issues.put(issue)
        hub.state.pulls.put(pull)
        await hub.git(repo, Bare.set_ref, f"refs/pull/{number}/head", head_sha)
    await tell_pull(hub, who, pull, "opened")
    return pull


def _custom(message: str) -> Refusal:
    error = {"resource": "PullRequest", "code": "custom", "message": message}
    return Refusal(422, "Validation Failed", [error])


async def _branch(hub: Hub, repo: Repository, field: str, name: str) -> tuple[str, str]:
    owner, _, branch = name.rpartition(":")
    known = not owner or owner.lower() == hub.owner(repo).login.lower()
    found = await hub.git(repo, Bare.refs, f"{BRANCH}{branch}") if known and branch else {}
    if f"{BRANCH}{branch}" not in found:
        raise invalid("PullRequest", field, "invalid")
    return branch, found[f"{BRANCH}{branch}"][0]


def _no_twin(hub: Hub, repo: Repository, home: Repository, head: str, base: str) -> None:
    for pull in hub.state.pulls.where(head=(home.id, head)):
        same = pull.repo_id == repo.id and pull.base_ref == base
        if same and conversation(hub, pull).state == "open":
            owner = hub.owner(home).login
            raise _custom(f"A pull request already exists for {owner}:{head}.")


def _conversation(
    hub: Hub, who: Somebody, repo: Repository, number: int, title: str, body: str | None
) -> Issue:
    now = hub.clock.now()
    return Issue(
        id=hub.state.issues.next_id(),
        repo_id=repo.id,
        number=number,
        is_pull=True,
        title=title,
        body=body,
        author_id=who.user.id,
        app_id=app_id(who),
        created_at=now,
        updated_at=now,
    )


def _author_or_write(hub: Hub, actor: Actor, pull: Pull) -> Somebody:
    repo = hub.state.repositories[pull.repo_id]
    require(actor, repo, SCOPE, "write")
    who = somebody(actor)
    own = conversation(hub, pull).author_id == who.user.id
    if isinstance(who, Person) and not own and not at_least(role_of(repo, who.user), "write"):
        raise forbidden()
    return who


async def edit(
    hub: Hub,
    actor: Actor,
    pull: Pull,
    *,
    title: str | None = None,
    body: str | None = None,
    state: str | None = None,
    base: str | None = None,
    maintainer_can_modify: bool | None = None,
) -> Pull:
    """Change what is not None: authors their own, others with the role write."""
    who = _author_or_write(hub, actor, pull)
    repo = hub.state.repositories[pull.repo_id]
    if maintainer_can_modify is not None and pull.head_repo_id is not None:
        # "Only pull request authors can give" it, says GitHub's documentation.
        if conversation(hub, pull).author_id != who.user.id:
            raise forbidden()
        lets = bool(maintainer_can_modify)
        pull = hub.state.pulls.put(replace(pull, maintainer_can_modify=lets))
    if base is not None and base != pull.base_ref:
        name, sha = await _branch(hub, repo, "base", base)
        changes = {"base": {"ref": {"from": pull.base_ref}, "sha": {"from": pull.base_sha}}}
        pull = hub.state.pulls.put(replace(pull, base_ref=name, base_sha=sha))
        await tell_pull(hub, who, pull, "edited", changes=changes)
    if state == "open" and conversation(hub, pull).state == "closed":
        pull = await _reopened(hub, repo, pull)
    issue = conversation(hub, pull)
    await issues.edit(hub, actor, issue, title=title, body=body, state=state)
    return pull


async def _reopened(hub: Hub, repo: Repository, pull: Pull) -> Pull:
    """Bring heads and bases that moved meanwhile up to date."""
    if pull.merged_at is not None:
        return pull
    home = hub.state.repositories.get(pull.head_home)
    if home is None:
        raise unprocessable("The head repository was deleted.")
    _no_twin(hub, repo, home, pull.head_ref, pull.base_ref)
    _, head = await _branch(hub, home, "head", pull.head_ref)
    if home.id != repo.id:
        await hub.git(repo, Bare.bring, hub.bare(home).folder, head)
    _, base = await _branch(hub, repo, "base", pull.base_ref)
    await hub.git(repo, Bare.set_ref, f"refs/pull/{pull.number}/head", head)
    return hub.state.pulls.put(replace(pull, head_sha=head, base_sha=base))


async def mark_ready(hub: Hub, actor: Actor, pull: Pull) -> Pull:
    """Take the draft off; nothing happens where it was none."""
    return await _set_draft(hub, actor, pull, False, "ready_for_review")


async def convert_to_draft(hub: Hub, actor: Actor, pull: Pull) -> Pull:
    """Make it a draft; nothing happens where it was one."""
    return await _set_draft(hub, actor, pull, True, "converted_to_draft")


async def _set_draft(hub: Hub, actor: Actor, pull: Pull, draft: bool, action: str) -> Pull:
    who = _author_or_write(hub, actor, pull)
    issue = conversation(hub, pull)
    if issue.state != "open":
        raise unprocessable("The pull request is closed.")
    if pull.draft == draft:
        return pull
    pull = hub.state.pulls.put(replace(pull, draft=draft))
    hub.state.issues.put(replace(issue, updated_at=hub.clock.now()))
    await tell_pull(hub, who, pull, action)
    return pull


# -- reviewers ------------------------------------------------------------------------------


def _reviewer(hub: Hub, repo: Repository, pull: Pull, login: str) -> User:
    user = hub.user(login)
    if user is not None and user.id == conversation(hub, pull).author_id:
        raise unprocessable("Review cannot be requested from pull request author.")
    if user is None or repo.roles.get(user.id, "none") == "none":
        raise unprocessable(
            "Reviews may only be requested from collaborators. One or more of the users or teams "
            f"you specified is not a collaborator of the {hub.full_name(repo)} repository."
        )
    return user


async def request_reviewers(hub: Hub, actor: Actor, pull: Pull, logins: Sequence[str]) -> Pull:
    """Ask people for a review, with an event for each who was not asked yet."""
    repo = hub.state.repositories[pull.repo_id]
    who = _author_or_write(hub, actor, pull)
    asked = [_reviewer(hub, repo, pull, login) for login in logins]
    new = [user for user in asked if user.id not in pull.reviewer_ids]
    pull = replace(pull, reviewer_ids=(*pull.reviewer_ids, *dict.fromkeys(u.id for u in new)))
    hub.state.pulls.put(pull)
    for user in new:
        body = render_user(hub, user)
        await tell_pull(hub, who, pull, "review_requested", requested_reviewer=body)
    return pull


async def remove_reviewers(hub: Hub, actor: Actor, pull: Pull, logins: Sequence[str]) -> Pull:
    """Ask people no longer for a review."""
    who = _author_or_write(hub, actor, pull)
    users = [u for u in map(hub.user, logins) if u is not None and u.id in pull.reviewer_ids]
    gone = {u.id for u in users}
    kept = tuple(i for i in pull.reviewer_ids if i not in gone)
    pull = hub.state.pulls.put(replace(pull, reviewer_ids=kept))
    for user in users:
        body = render_user(hub, user)
        await tell_pull(hub, who, pull, "review_request_removed", requested_reviewer=body)
    return pull


# -- merging --------------------------------------------------------------------------------


async def merge(
    hub: Hub,
    actor: Actor,
    pull: Pull,
    *,
    method: str = "merge",
    sha: str | None = None,
    title: str | None = None,
    message: str | None = None,
    by_rules: bool = True,
) -> str:
    """Merge, where the head is `sha` if that is given; the new commit of the base branch.

    Refused as GitHub does: 405 for drafts, closed ones, conflicts and what the base's rules
    ask for, 409 for a head that moved. Without `by_rules` they were asked before.
    """
    repo = hub.state.repositories[pull.repo_id]
    require(actor, repo, "contents", "write", "write")
    who = somebody(actor)
    if (method or "merge") not in METHODS:
        raise invalid("PullRequest", "merge_method", "invalid")
    async with hub.lock(repo):
        pull = hub.state.pulls[pull.id]
        _mergeable(hub, pull, sha)
        if by_rules:
            await _allowed(hub, repo, pull, method or "merge")
        await _workflows(hub, who, repo, pull)
        home = hub.state.repositories.get(pull.head_home) or repo
        plan = merging.Merge(
            pull.number, pull.base_sha, pull.head_sha, pull.head_ref, hub.owner(home).login,
            title, message, conversation(hub, pull).title, hub.signature(who.user),
        )  # fmt: skip
        landed = await hub.git(repo, merging.make, method or "merge", plan)
        if landed is None:
            raise Refusal(405, "Pull Request is not mergeable")
        ref = f"{BRANCH}{pull.base_ref}"
        try:
            await hub.git(repo, Bare.set_ref, ref, landed, pull.base_sha)
        except GitFailed as error:
            message = "Base branch was modified. Review and try the merge again."
            raise Refusal(405, message) from error
        await _landed(hub, who, repo, pull, landed)
        await moved(hub, who, repo, [Moved(ref, pull.base_sha, landed)], is_merge=True)
    return landed


def _mergeable(hub: Hub, pull: Pull, sha: str | None) -> None:
    if conversation(hub, pull).state != "open":
        raise Refusal(405, "Pull Request is not mergeable")
    if pull.draft:
        raise Refusal(405, "Pull Request is still a draft")
    if sha and sha != pull.head_sha:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")


async def _allowed(hub: Hub, repo: Repository, pull: Pull, method: str) -> None:
    problems = await protection.unmet(hub, pull, method)
    if protection.has_queue(hub, repo, pull.base_ref):
        problems.append("Changes must be made through the merge queue")
    if problems:
        raise Refusal(405, "\n\n".join(["Repository rule violations found", *problems]))


def acting(hub: Hub, pull: Pull, user: User) -> Somebody:
    """Whoever asked for a later merge, acting when its time has come."""
    if user.kind != "Bot":
        return Person(user)
    repo = hub.state.repositories[pull.repo_id]
    app = next(each for each in hub.state.apps if each.bot_id == user.id)
    found = hub.state.installations.where(app=app.id)
    held = next(each for each in found if covers(each, repo))
    return Installed(user, app, held, held.permissions)


async def _workflows(hub: Hub, who: Somebody, repo: Repository, pull: Pull) -> None:
    if not isinstance(who, Installed) or who.has("workflows", "write"):
        return
    file = await hub.git(repo, merging.workflow_changed, pull.base_sha, pull.head_sha)
    if file is not None:
        raise Refusal(
            403,
            "refusing to allow a GitHub App to create or update workflow "
            f"`{file}` without `workflows` permission",
        )


async def _landed(hub: Hub, who: Somebody, repo: Repository, pull: Pull, sha: str) -> None:
    await mark_merged(hub, who, pull, sha)
    if pull.base_ref != repo.default_branch:
        return
    for number in dict.fromkeys(CLOSES.findall(conversation(hub, pull).body or "")):
        issue = hub.state.issues.one(number=(repo.id, int(number)))
        if issue is not None and not issue.is_pull and issue.state == "open":
            await issues.set_state(hub, who, issue, "closed", "completed")
