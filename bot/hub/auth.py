"""Who a request says to be: a person, an App by its key, or an App by an installation token.

People are believed (`Bearer user:NAME`): the hub stands on one's own machine. Apps prove
themselves as on GitHub.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import jwt

from bot.hub.access import Actor, Anonymous, AppItself, Installed, Person
from bot.hub.actions.installations import digest
from bot.hub.core import Hub
from bot.hub.records import App
from bot.hub.refusals import Refusal, bad_credentials

# GitHub takes a JSON Web Token whose end is at most ten minutes ahead, clocks a minute apart.
JWT_LIFE = 600
JWT_DRIFT = 60


def authenticate(hub: Hub, header: str | None) -> Actor:
    """The actor that an `Authorization` header names; 401 where it proves nothing."""
    if not header:
        return Anonymous()
    scheme, _, value = header.partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer" | "token":
            return _by_token(hub, value)
        case "basic":
            return _by_token(hub, _from_basic(value))
    raise bad_credentials()


def _from_basic(value: str) -> str:
    """The token in a Basic header: `x-access-token:TOKEN`, `user:NAME` or `NAME:user:NAME`."""
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise bad_credentials() from error
    name, _, password = text.partition(":")
    return f"user:{password}" if name == "user" else password


def _by_token(hub: Hub, value: str) -> Actor:
    if value.startswith("user:"):
        user = hub.user(value.removeprefix("user:"))
        if user is None or user.kind != "User":
            raise bad_credentials()
        return Person(user)
    if value.count(".") == 2:
        return AppItself(_by_jwt(hub, value))
    return _by_installation_token(hub, value)


def _by_installation_token(hub: Hub, value: str) -> Installed:
    token = hub.state.tokens.one(digest=digest(value))
    if token is None or token.expires_at <= hub.clock.now():
        raise bad_credentials()
    installation = hub.state.installations[token.installation_id]
    if installation.suspended_at is not None:
        raise Refusal(403, "This installation has been suspended")
    app = hub.state.apps[installation.app_id]
    bot = hub.state.users[app.bot_id]
    return Installed(bot, app, installation, token.permissions, token.repository_ids)


def _by_jwt(hub: Hub, value: str) -> App:
    try:
        claims: dict[str, Any] = jwt.decode(
            value, options={"verify_signature": False, "verify_exp": False, "verify_iat": False}
        )
    except jwt.PyJWTError as error:
        raise _undecodable() from error
    app = _issuer(hub, claims.get("iss"))
    try:
        options = {"verify_exp": False, "verify_iat": False, "verify_iss": False}
        jwt.decode(value, app.public_key, algorithms=["RS256"], options=options)  # type: ignore[arg-type]
    except jwt.PyJWTError as error:
        raise _undecodable() from error
    _check_times(hub, claims)
    return app


def _undecodable() -> Refusal:
    return Refusal(401, "A JSON web token could not be decoded")


def _issuer(hub: Hub, issuer: object) -> App:
    if not isinstance(issuer, (int, str)) or isinstance(issuer, bool):
        raise Refusal(401, "'Issuer' claim ('iss') must be an Integer or the App's client id")
    for app in hub.state.apps:
        if str(issuer) in (str(app.id), f"Iv1.{app.id:016x}"):
            return app
    raise Refusal(401, "Integration not found")


def _check_times(hub: Hub, claims: dict[str, Any]) -> None:
    now = hub.clock.now().timestamp()
    ends, issued = claims.get("exp"), claims.get("iat")
    if not isinstance(ends, (int, float)):
        raise Refusal(401, "'Expiration time' claim ('exp') must be a numeric value")
    if ends <= now:
        raise Refusal(401, "'Expiration time' claim ('exp') has already passed")
    if ends > now + JWT_LIFE + JWT_DRIFT:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
    if isinstance(issued, (int, float)) and issued > now + JWT_DRIFT:
        raise Refusal(401, "'Issued at' claim ('iat') must not be in the future")
