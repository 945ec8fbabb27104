"""One module a feature: the slash command, event or schedule of that name.

Taking a feature away is taking away its line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot import payloads
from bot.router import Feature
from handlers import (
    approve,
    buttons,
    cancel,
    comment,
    delegate,
    diff,
    give,
    help,
    hold,
    installation,
    label,
    news,
    orchestrate,
    override,
    pause,
    plan,
    push,
    reject,
    resume,
    retry,
    review,
    rollback,
    status,
    take,
    tell,
    trust,
    undelegate,
    undo,
    unhold,
    update,
)

FEATURES: tuple[Feature, ...] = (
    orchestrate.FEATURE,
    approve.FEATURE,
    reject.FEATURE,
    resume.FEATURE,
    tell.FEATURE,
    pause.FEATURE,
    cancel.FEATURE,
    take.FEATURE,
    give.FEATURE,
    rollback.FEATURE,
    undo.FEATURE,
    update.FEATURE,
    retry.FEATURE,
    override.FEATURE,
    hold.FEATURE,
    unhold.FEATURE,
    trust.FEATURE,
    delegate.FEATURE,
    undelegate.FEATURE,
    status.FEATURE,
    plan.FEATURE,
    diff.FEATURE,
    help.FEATURE,
)
"""The slash commands, in the order in which `/help` lists them."""

EVENTS: Mapping[type[payloads.Arrival], Any] = {
    payloads.CommentCreated: comment.on_comment,
    payloads.ReviewCommentCreated: comment.on_review_comment,
    payloads.ReviewSubmitted: review.on_review,
    payloads.Labeled: label.on_label,
    payloads.ButtonPressed: buttons.on_button,
    payloads.CheckRerun: buttons.on_rerun,
    payloads.SuiteRerun: buttons.on_suite,
    payloads.CheckEnded: news.on_check,
    payloads.StatusSaid: news.on_status,
    payloads.Pushed: push.on_push,
    payloads.PullChanged: push.on_pull,
    payloads.InstallationChanged: installation.on_installation,
    payloads.RepositoryChanged: installation.on_repository,
}
"""Who takes in each kind of arrival."""
