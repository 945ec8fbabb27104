"""A GitHub that fits in a folder: REST, webhooks, git and pages over real repositories.

hub = Hub(folder)
credentials = await seed(hub, webhook_url="http://127.0.0.1:8000/webhook")
async with serve(hub, port=0):
    await As(hub, "writer").comment("acme/widgets", 1, "/orchestrate tidy up")
    await hub.settled()
"""

from bot.hub.app import create_app, serve
from bot.hub.core import Hub
from bot.hub.people import As
from bot.hub.seed import Credentials, add_repository, add_team, seed

__all__ = ["As", "Credentials", "Hub", "add_repository", "add_team", "create_app", "seed", "serve"]
