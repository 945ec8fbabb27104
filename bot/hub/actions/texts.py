"""What GitHub asks of texts."""

from __future__ import annotations

from bot.hub.refusals import invalid

# GitHub's limit on the bodies of issues, pull requests, comments and reviews.
BODY_LIMIT = 65_536

# GitHub's limit on titles.
TITLE_LIMIT = 256


def checked_title(resource: str, title: object) -> str:
    """The title, or GitHub's refusal of it."""
    if not isinstance(title, str) or not title.strip():
        raise invalid(resource, "title", "missing_field")
    if len(title) > TITLE_LIMIT:
        raise invalid(resource, "title", "custom", "title is too long (maximum is 256 characters)")
    return title


def checked_body(resource: str, body: str | None, *, required: bool = False) -> str | None:
    """The body, or GitHub's refusal of it."""
    if required and not (body or "").strip():
        raise invalid(resource, "body", "unprocessable", "Body cannot be blank")
    if body is not None and len(body) > BODY_LIMIT:
        message = f"body is too long (maximum is {BODY_LIMIT} characters)"
        raise invalid(resource, "body", "custom", message)
    return body
