"""What templates say of records: names, times, signs, rendered Markdown."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from bot.hub.access import association
from bot.hub.core import Hub
from bot.hub.pages.markdown import Links, render
from bot.hub.records import CheckRun, Issue, Label, Pull, Repository, Review, User

EMOJI = {
    "+1": "👍",
    "-1": "👎",
    "laugh": "😄",
    "hooray": "🎉",
    "confused": "😕",
    "heart": "❤️",
    "rocket": "🚀",
    "eyes": "👀",
}

GOOD = frozenset({"success", "neutral", "skipped"})


@dataclass(frozen=True, slots=True)
class Summary:
    """Several check runs in a few words; `mark` is good, bad, wait or none."""

    mark: str
    text: str


def helpers(hub: Hub) -> dict[str, Any]:
    """The functions that templates call."""

    def user_of(user_id: int | None) -> User | None:
        return hub.state.users.get(user_id)

    def markdown(text: str | None, repo: Repository) -> Markup:
        return render(text or "", links(hub, repo))

    def labels_of(issue: Issue) -> list[Label]:
        found = (hub.state.labels.one(name=(issue.repo_id, n.lower())) for n in issue.labels)
        return [label for label in found if label is not None]

    def relation(repo: Repository, user: User) -> str:
        told = association(hub, repo, user)
        return "" if told == "NONE" or user.kind == "Bot" else told.capitalize()

    def author_of(email: str) -> User | None:
        return hub.state.users.one(email=email)

    def app_slug(app_id: int) -> str:
        return hub.state.apps[app_id].slug

    return {
        "hub": hub,
        "user_of": user_of,
        "author_of": author_of,
        "app_slug": app_slug,
        "markdown": markdown,
        "labels_of": labels_of,
        "relation": relation,
        "pull_of": lambda issue: hub.state.pulls.one(number=(issue.repo_id, issue.number)),
        "reactions_of": lambda subject, i: reactions(hub, subject, i),
        "checks_on": lambda repo, sha: latest_runs(hub, repo, sha),
        "summary_of": summary,
        "state_of": state_of,
        "mark_of": mark_of,
        "verdict_of": verdict_of,
        "hue": lambda name: zlib.crc32(name.encode()) % 360,
        "when": when,
    }


def links(hub: Hub, repo: Repository, folder: tuple[str, str] | None = None) -> Links:
    """What texts of this repository may refer to."""
    base = f"/{hub.full_name(repo)}"

    def issue(number: int) -> str | None:
        found = hub.state.issues.one(number=(repo.id, number))
        if found is None:
            return None
        return f"{base}/{'pull' if found.is_pull else 'issues'}/{number}"

    return Links(base, issue, lambda login: hub.user(login) is not None, folder)


def when(moment: datetime) -> str:
    """A moment as people read it, in UTC."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def reactions(hub: Hub, subject: str, subject_id: int) -> list[tuple[str, int, str]]:
    """The reactions to something as `(emoji, how many, by whom)`."""
    found: dict[str, list[str]] = {}
    for reaction in hub.state.reactions.where(subject=(subject, subject_id)):
        login = hub.state.users[reaction.author_id].login
        found.setdefault(reaction.content, []).append(login)
    return [(EMOJI[c], len(found[c]), ", ".join(found[c])) for c in EMOJI if c in found]


def state_of(issue: Issue, pull: Pull | None) -> str:
    """`open`, `closed`, `merged` or `draft`."""
    if pull is not None and pull.merged_at is not None:
        return "merged"
    return "draft" if pull is not None and pull.draft and issue.state == "open" else issue.state


def latest_runs(hub: Hub, repo: Repository, sha: str) -> list[CheckRun]:
    """The newest check run of each name on a commit, in the order of the names."""
    newest = {(r.app_id, r.name): r for r in hub.state.check_runs.where(sha=(repo.id, sha))}
    return sorted(newest.values(), key=lambda r: r.name)


def mark_of(run: CheckRun) -> str:
    """How a check run shows: good, bad, wait, or none for those that say nothing."""
    if run.status != "completed":
        return "wait"
    if run.conclusion == "success":
        return "good"
    return "none" if run.conclusion in GOOD or run.conclusion == "cancelled" else "bad"


def verdict_of(run: CheckRun) -> str:
    """What a check run came to, in words."""
    told = run.conclusion if run.status == "completed" else run.status
    return (told or "pending").replace("_", " ")


def summary(runs: Sequence[CheckRun]) -> Summary:
    """All check runs of a commit in a sentence."""
    marks = [mark_of(run) for run in runs]
    bad, waiting = marks.count("bad"), marks.count("wait")
    if not runs:
        return Summary("none", "No checks have run")
    if bad:
        return Summary("bad", f"{_checks(bad)} of {len(runs)} failed")
    if waiting:
        return Summary("wait", f"{_checks(waiting)} of {len(runs)} not over yet")
    return Summary("good", f"{_checks(len(runs))} passed" if len(runs) > 1 else "The check passed")


def _checks(count: int) -> str:
    return "1 check" if count == 1 else f"{count} checks"


def standing(hub: Hub, reviews: Sequence[Review]) -> Mapping[str, Review]:
    """Each reviewer's last verdict on a pull request, by login; comments take none back."""
    last: dict[str, Review] = {}
    for review in reviews:
        login = hub.state.users[review.author_id].login
        if review.state in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
            last[login] = review
    return {who: r for who, r in last.items() if r.state != "DISMISSED"}
