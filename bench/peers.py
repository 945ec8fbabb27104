"""The other servers that webhooks are compared with, installed into a folder where they are not.

Probot comes from npm and needs node, gidgethub and aiohttp from PyPI; neither is a part of the
product. What cannot be had is left out, and the measurement says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROBOT = "probot@14"
GIDGETHUB = ("gidgethub", "aiohttp")
INSTALL_SECONDS = 300.0

PROBOT_SERVER = """
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { Probot, createNodeMiddleware } from "probot";

const { privateKey } = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  privateKeyEncoding: { type: "pkcs1", format: "pem" },
  publicKeyEncoding: { type: "spki", format: "pem" },
});
const probot = new Probot({
  appId: 1, privateKey, secret: process.env.SECRET, logLevel: "fatal",
});
const app = (bot) => { bot.on("issue_comment.created", async () => {}); };
const middleware = await createNodeMiddleware(app, { probot, webhooksPath: "/webhook" });
const server = createServer((request, response) =>
  middleware(request, response, () => { response.writeHead(404); response.end(); }));
server.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("ready"));
"""

GIDGETHUB_SERVER = """
import asyncio, os, sys
from aiohttp import web
from gidgethub import routing, sansio

router = routing.Router()


@router.register("issue_comment", action="created")
async def said(event):
    pass


async def webhook(request):
    body = await request.read()
    event = sansio.Event.from_http(request.headers, body, secret=os.environ["SECRET"])
    await router.dispatch(event)
    return web.Response(status=202)


async def main():
    app = web.Application(client_max_size=2**25)
    app.router.add_post("/webhook", webhook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"])).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server of somebody else: how it is started, or why it cannot be."""

    name: str
    command: tuple[str, ...] = ()
    folder: Path = Path()
    missing: str = ""


def peers(folder: Path) -> list[Peer]:
    """Install what is compared with below `folder`, where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_probot(folder / "probot"), _gidgethub(folder / "gidgethub")]


def _probot(folder: Path) -> Peer:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return Peer("probot", missing="There is no node here; apt-get install nodejs npm.")
    folder.mkdir(exist_ok=True)
    if not (folder / "node_modules" / "probot").exists():
        (folder / "package.json").write_text('{"private": true}\n')
        told = _run(
            npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", PROBOT, at=folder
        )
        if told:
            return Peer("probot", missing=told)
    (folder / "server.mjs").write_text(PROBOT_SERVER)
    return Peer("probot", (node, "server.mjs"), folder)


def _gidgethub(folder: Path) -> Peer:
    if not (folder / "gidgethub").exists():
        told = _run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)),
            *GIDGETHUB,
            at=folder.parent,
        )
        if told:
            return Peer("gidgethub", missing=told)
    (folder / "serve.py").write_text(GIDGETHUB_SERVER)
    return Peer("gidgethub", (sys.executable, "serve.py"), folder)


def _run(*command: str, at: Path) -> str:
    """Run an installer; return why it failed, or nothing."""
    try:
        done = subprocess.run(
            command, cwd=at, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return "" if done.returncode == 0 else done.stderr.strip()[-300:]


def started(peer: Peer, port: int, secret: bytes, core: int) -> subprocess.Popen[str]:
    """Start a server on a core of its own, and return once it takes requests."""
    process = subprocess.Popen(
        peer.command,
        cwd=peer.folder,
        env={**os.environ, "PORT": str(port), "SECRET": secret.decode(), "NODE_ENV": "production"},
        stdout=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(process.pid, {core})
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        process.kill()
        raise RuntimeError(f"{peer.name} did not start")
    return process
