"""The composition root: settings become adapters, adapters become a server.

`compose` makes the part that every way to run shares; `Server` puts GitHub around it, and
`bot/local.py` a repository on this machine. Here alone handlers and adapters meet.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from bot.agents.desk import AgentDesk, Choices
from bot.agents.registry import Registry
from bot.checks.desk import CheckDesk
from bot.database import Database, is_shared, open_database
from bot.deliveries import Delivery, Inbox
from bot.dispatcher import Dispatcher
from bot.door import application
from bot.environments import EnvironmentDesk
from bot.errors import OperatorError
from bot.git.checkpoint import Identity
from bot.git.environments import Environments
from bot.git.overlay import probe
from bot.git.pool import Pool
from bot.git.remote import Remote
from bot.git.shared import SharedWorkbench
from bot.git.workbench import Workbench
from bot.git.workspace import Workspaces
from bot.github.client import GitHubApp
from bot.github.forge import GitHubForge
from bot.github.onboarding import GitHubSites
from bot.github.once import Once
from bot.github.organisation import GitHubOrganisations
from bot.github.threads import GitHubThreads
from bot.journal import Journal
from bot.library import Library
from bot.organisation import Organisations
from bot.paces import DatabaseBuckets
from bot.payloads import parse
from bot.places import engine_at, engine_file, journal_file
from bot.poll import Poll
from bot.recovery import Recovery
from bot.redact import Redactor
from bot.retention import Forget, Retention
from bot.router import Desk, Repositories, Router
from bot.runs import admission as queue
from bot.runs.engine import Engine, forget_workflows
from bot.runs.inforce import NoOrganisations
from bot.runs.logs import prune
from bot.runs.model import Repository
from bot.runs.ports import Forge, Git
from bot.runs.reconciler import Reconciler
from bot.runs.segments import WAIT_MAX_SECONDS, Segments
from bot.runs.store import Store
from bot.runs.work import OWN_AGENT, Ports, Worker
from bot.sandbox.discreet import Discreet
from bot.sandbox.environment.installer import SandboxInstaller
from bot.sandbox.environment.mirrors import Mirrors, mirrors
from bot.sandbox.gateway.gateway import Gateway
from bot.sandbox.gateway.prices import Prices
from bot.sandbox.model import MEGABYTE, Limits, Sandbox
from bot.sandbox.probe import choose
from bot.sandbox.rights import uid_for_jobs
from bot.sandbox.tools import expand
from bot.schedule import ScheduleClock
from bot.settings import Settings
from bot.shared import DELIVERIES, Role, Shared, SharedForge, alone
from bot.threads import People, Threads
from bot.watch import Watch
from bot.webhook import ASGIApp
from handlers import EVENTS, FEATURES
from handlers.installation import learn
from handlers.maintenance import Maintenance, fire
from handlers.onboarding import WRITES, Onboarding
from policies.config import Agent, Config
from policies.config import parse as parse_config

log = structlog.get_logger()

Output = Callable[[str, str], None]
"""Takes (run, line): what agents and checks print."""


USAGES = tuple(feature.usage for feature in FEATURES)
"""How every command is written."""

UPKEEP_SECONDS = 1800.0
"""How often it is looked whether a mirror wants tidying: as many checkpoints as a busy server makes
in that time are no burden yet."""


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Bot:
    """Runs, with all that works on them; `start` begins, `stop` ends within a moment.

    Where several processes work, `stop` first lets what is under way end for `drain` seconds.
    """

    store: Store
    database: Database
    engine: Engine
    reconciler: Reconciler
    agents: AgentDesk
    ports: Ports
    segments: Segments
    folder: Path
    tidy_logs: Callable[[], int] = lambda: 0
    shared: Shared | None = None
    working: bool = True
    drain: float = 0.0
    _tidying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to draw and to work, where the last process left off."""
        if self.shared:
            await self.shared.start()
        await self.ports.git.begin({run.id for run in await self.store.active()})
        if self.working:
            await self.reconciler.start()
        await self.engine.start()
        self._tidying = asyncio.create_task(self._tidy())

    async def stop(self) -> None:
        """Stop; what was under way goes on at the next start."""
        if self._tidying:
            self._tidying.cancel()
            await asyncio.wait({self._tidying})
        if self.shared:
            await self.shared.dismiss()
            await self.segments.drain(self.drain)
        await self.engine.stop()
        await self.reconciler.stop()
        await self.ports.git.end()
        if self.shared:
            await self.shared.stop()
        await self.database.close()

    async def _tidy(self) -> None:
        """Tidy the mirrors, beside the work and never in its way."""
        while True:
            await self.ports.git.upkeep()
            await asyncio.to_thread(self.tidy_logs)
            await asyncio.sleep(UPKEEP_SECONDS)


async def compose(
    settings: Settings,
    store: Store,
    database: Database,
    git: Git,
    forge: Forge,
    *,
    on_output: Output | None = None,
    wait_max: float = WAIT_MAX_SECONDS,
    shared: Shared | None = None,
    folder: Path | None = None,
    working: bool = True,
    organisations: Organisations | None = None,
) -> Bot:
    """Put a bot together around a git and a forge; `OperatorError` without a sandbox.

    `folder` holds the runs where that is not beside the database; without `working` it is not this
    process that works on them. `organisations` say what holds for all of their repositories.
    """
    shop = await workshop(settings, git)
    agents = agents_of(settings, shop.sandbox, shop.gateway)
    if shared:
        forge = SharedForge(forge, shared.lease)
    ports = Ports(
        *(store, git, agents, shop.checks, forge, now, shop.environments, store.redactor),
        bounds=bounds_of(settings),
        organisations=organisations or NoOrganisations(),
    )
    patience = settings.patience_minutes * 60
    segments = Segments(ports, Worker(ports, on_output), wait_max=wait_max, patience=patience)
    engine = Engine(
        store,
        segments,
        engine_at(settings.database),
        workers=settings.workers,
        executor=shared.lease.id if shared else "local",
        working=working,
        limits=queue_limits(settings),
    )
    hold = shared.posts.hold if shared else None
    gather = settings.gather_seconds
    reconciler = Reconciler(store, git, forge, now, gather=gather, hold=hold, patience=patience)
    place = folder or engine_file(settings.database).parent
    tidy = partial(prune, place / "runs", settings.log_days)
    return Bot(
        store,
        database,
        engine,
        reconciler,
        agents,
        ports,
        segments,
        place,
        tidy,
        shared,
        working,
        settings.drain_seconds,
    )


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where jobs are run, what they may reach, and who checks and installs there."""

    sandbox: Sandbox
    gateway: Gateway
    checks: CheckDesk
    environments: EnvironmentDesk


async def workshop(settings: Settings, git: Git) -> Workshop:
    """Set up where jobs are run; `OperatorError` without a sandbox."""
    chosen = await choose(settings.sandbox, uid=settings.sandbox_uid, limits=limits_of(settings))
    sandbox = Discreet(chosen, settings.secrets(os.environ))
    tools = expand(settings.tools)
    output_bytes = settings.output_megabytes * 1024 * 1024
    checks = CheckDesk(sandbox, tools=tools, output_bytes=output_bytes)
    registries = mirrors(os.environ)
    gateway = gateway_of(settings, registries)
    installer = SandboxInstaller(
        sandbox, gateway, tools=tools, mirrors=registries, output_bytes=output_bytes
    )
    environments = EnvironmentDesk(
        git, installer, hosts=settings.setup_hosts, secrets=settings.setup_secrets
    )
    return Workshop(sandbox, gateway, checks, environments)


def bounds_of(settings: Settings) -> Config:
    """Read what the server lays down for every repository; `OperatorError` says what is wrong."""
    file = settings.policy_file
    if file is None:
        return Config()
    try:
        parsed = parse_config(file.read_bytes())
    except OSError as error:
        raise OperatorError(f"ORCHESTRATE_POLICY_FILE cannot be read: {error}.") from error
    if parsed.config is None:
        first = parsed.problems[0]
        raise OperatorError(f"{file}, line {first.line}: {first.message}")
    return parsed.config


def limits_of(settings: Settings) -> Limits:
    """Say what one job may take."""
    return Limits(
        memory_bytes=settings.job_megabytes * MEGABYTE,
        processes=settings.job_processes,
        cpus=settings.job_cpus,
    )


def queue_limits(settings: Settings) -> queue.Limits:
    """Say how many runs may work at a time, beside what the processes can."""
    return queue.Limits(
        server=settings.server_runs,
        installation=settings.installation_runs or None,
        repository=settings.repository_runs or None,
        agents=settings.agent_runs,
    )


def agents_of(settings: Settings, sandbox: Sandbox, gateway: Gateway) -> AgentDesk:
    """Put the agents' desk together."""
    own = settings.agents
    return AgentDesk(
        sandbox,
        registry=registry_of(settings, sandbox),
        choices=Choices(
            commands={name: Agent(command=a.command, speaks=a.speaks) for name, a in own.items()},
            makers={name: agent.models for name, agent in own.items()},
            default=settings.agent,
            models=settings.models,
            hosts=settings.agent_hosts,
            silent=settings.silent_minutes * 60,
        ),
        output_bytes=settings.output_megabytes * 1024 * 1024,
        gateway=gateway,
        own=OWN_AGENT,
        secrets=settings.secrets(os.environ),
    )


def registry_of(settings: Settings, sandbox: Sandbox) -> Registry:
    """Know the agents of this machine."""
    return Registry(sandbox, tools=expand(settings.tools), path=os.environ.get("PATH", ""))


def forget_by(settings: Settings) -> Forget:
    """Say how finished workflows are forgotten."""

    async def forget(before: datetime, dry_run: bool) -> int:
        where = engine_at(settings.database)
        return await asyncio.to_thread(forget_workflows, where, before, dry_run=dry_run)

    return forget


def route(desk: Desk) -> Router:
    """Put the handlers behind one router."""
    return Router(desk, {feature.usage.verb: feature for feature in FEATURES}, EVENTS)


def desk_of(
    bot: Bot, people: People, threads: Threads, repositories: Repositories, login: str
) -> Desk:
    """Put together what handlers are given."""
    return Desk(
        people=people,
        threads=threads,
        store=bot.store,
        repositories=repositories,
        choose_agent=bot.agents.choose,
        clock=now,
        bot=login,
        usages=USAGES,
        bounds=bot.ports.bounds,
    )


class Server:
    """The bot with GitHub around it: webhooks in, drawings out, and the clock; or some of these.

    Where several processes share the database, one obeys what arrives and asks GitHub for the rest.
    """

    def __init__(
        self, settings: Settings, bot: Bot, github: GitHubApp, desk: Desk, role: Role = "serve"
    ) -> None:
        self.settings = settings
        self.role = role
        self.bot = bot
        self.github = github
        checks = bot.ports.checks
        self.onboarding = Onboarding(
            bot.store,
            desk.repositories,
            GitHubSites(github),
            lambda paths, read: [(each.name, each.run) for each in checks.detect(paths, read)],
            checks.reads,
            spacing=settings.write_spacing_seconds * WRITES,
        )
        if settings.onboarding:
            desk = replace(desk, invite=self.onboarding.invite)
        self.desk = desk
        self.router = route(desk)
        every = settings.reconcile_minutes * 60
        self.inbox = bot.shared.inbox if bot.shared else Inbox(bot.database)
        self.journal = None if bot.shared else Journal(journal_file(settings.database), self.inbox)
        self.dispatcher = Dispatcher(self.inbox, self.obey)
        self.recovery = Recovery(desk.threads, self.inbox, every=every)
        self.watch = Watch(self.router, every=every)
        self.poll = Poll(
            desk, self.inbox, every=settings.poll_seconds, an_hour=settings.poll_requests_an_hour
        )
        # Who asks for everything needs not look for what webhooks lost.
        self._looking = (self.poll,) if settings.poll_seconds else (self.recovery, self.watch)
        self.clock = ScheduleClock(bot.store, lambda *at: fire(desk, *at))
        self.maintenance = Maintenance(desk)
        self.retention = Retention(
            settings,
            bot.store,
            self.inbox,
            forget_by(settings),
            address_by(GitHubForge(github, bot.store)),
            folders=lambda: [bot.folder],
        )
        self._tidying: asyncio.Task[None] | None = None
        self.ready = False

    async def start(self) -> None:
        """Begin: first to draw and to work, then to listen, then to look for what was lost."""
        await self.bot.start()
        shared = self.bot.shared
        if self.role != "clock":
            if shared:
                shared.keep(DELIVERIES, self._listen)
                shared.bury_the_dead(self.bot.engine)
            else:
                await self._listen()
            if self.journal:
                await self.journal.start()
            self._tidying = asyncio.create_task(self.retention.nightly())
        if self.role != "worker":
            await self.clock.start()
        self.ready = True

    async def _listen(self) -> None:
        """Obey what arrives, and look for what did not."""
        for part in (self.dispatcher, *self._looking, self.maintenance):
            await part.start()
        if self.settings.onboarding:
            await self.onboarding.start()

    async def stop(self) -> None:
        """Stop in the opposite order."""
        self.ready = False
        if self.bot.shared:
            await self.bot.shared.dismiss()
        if self._tidying:
            self._tidying.cancel()
        if self.journal:
            await self.journal.stop()
        for part in (
            self.clock,
            self.onboarding,
            self.maintenance,
            *reversed(self._looking),
            self.dispatcher,
        ):
            await part.stop()
        if self.bot.shared:
            await self.bot.shared.leave()
        await self.bot.stop()
        await self.github.close()

    async def obey(self, delivery: Delivery) -> None:
        """Bring a stored delivery to its handler."""
        arrival = parse(delivery.event, delivery.body, delivery.guid)
        if arrival is not None:
            with structlog.contextvars.bound_contextvars(delivery=delivery.guid):
                await self.router.take(arrival)

    async def learn(self) -> None:
        """Learn the schedules of every repository that the App is installed on."""
        for installation in await self.desk.threads.installations():
            if not installation.suspended:
                await learn(self.desk, installation.id)

    def app(self) -> ASGIApp:
        """Return the web application of this server."""
        return application(self, self.journal or (self.inbox if self.role == "serve" else None))

    async def is_ready(self) -> bool:
        """Say whether it does what it is there for."""
        shared = self.bot.shared
        return self.ready and (shared is None or shared.lease.is_held)


async def workspaces(settings: Settings, folder: Path) -> Workspaces:
    """Find out how workspaces can be made below `folder`; `OperatorError` where not as asked."""
    means = await asyncio.to_thread(
        probe, folder / "runs", settings.workspaces, contained=settings.sandbox != "none"
    )
    disk = settings.disk_megabytes * 1024 * 1024
    owner = uid_for_jobs(settings.sandbox_uid) if settings.sandbox != "none" else None
    return Workspaces(folder / "runs", folder / "bases", means, disk_bytes=disk, owner=owner)


def environments_of(settings: Settings, folder: Path, made: Workspaces) -> Environments:
    """Say where environments are kept below `folder`, and for how long."""
    return Environments(
        folder / "environments",
        folder / "runs",
        made,
        days=settings.environment_days,
        total_bytes=settings.environment_megabytes * 1024 * 1024,
    )


def gateway_of(settings: Settings, registries: Mirrors) -> Gateway:
    """Make the only way out of sandboxes; the operator's own registries may be private."""
    return Gateway(
        os.environ,
        Prices.load(settings.prices),
        private_hosts=(*settings.private_hosts, *registries.hosts),
    )


def reach(settings: Settings, redactor: Redactor | None = None) -> GitHubApp:
    """Make the App of the settings; `OperatorError` says what is missing.

    What `redactor` knows is not sent, and it learns the tokens that GitHub gives.
    """
    missing = settings.missing()
    if missing:
        raise OperatorError(
            f"{', '.join(missing)} must be set; `orchestrate doctor` explains each."
        )
    return GitHubApp(
        api_url=settings.github_api_url,
        app_id=settings.app_id,
        private_key=settings.pem(),
        spacing=settings.write_spacing_seconds,
        redactor=redactor,
    )


async def build(
    settings: Settings,
    *,
    on_output: Output | None = None,
    wait_max: float = WAIT_MAX_SECONDS,
    redactor: Redactor | None = None,
    role: Role = "serve",
) -> Server:
    """Build a server from its settings; `OperatorError` says what is missing."""
    if role != "serve" and not is_shared(settings.database):
        raise alone(role)
    redactor = redactor or Redactor(settings.secrets(os.environ))
    github = reach(settings, redactor)
    try:
        database = await open_database(settings.database)
    except BaseException:
        await github.close()
        raise
    store = Store(database, redactor)
    shared, folder = None, settings.data_dir
    if database.is_shared:
        shared = Shared(settings.database, database, store, role, settings.lease_seconds)
        github.guard = shared.lease.check
        github.share = partial(DatabaseBuckets, database)
        folder = shared.take_folder(settings.data_dir)
    try:
        once = Once()
        forge, threads = GitHubForge(github, store, once), GitHubThreads(github, once)
        login = await github.login()
        identity = Identity(login, await github.email())
        made = await workspaces(settings, folder)
        given: dict[str, Any] = {
            "blobless_over": settings.blobless_megabytes * 1024,
            "pool": Pool(settings.git_workers),
            "environments": environments_of(settings, folder, made),
        }
        address = address_by(forge)
        workbench = (
            SharedWorkbench(folder, address, identity, made, store, **given)
            if shared
            else Workbench(folder, address, identity, made, **given)
        )
        bot = await compose(
            settings,
            store,
            database,
            workbench,
            forge,
            on_output=on_output,
            wait_max=wait_max,
            shared=shared,
            folder=folder,
            working=role != "clock",
            organisations=(organisations := Organisations(GitHubOrganisations(github))),
        )
    except BaseException:
        await github.close()
        await database.close()
        raise
    library = Library(store, threads.file, workbench, bot.ports.bounds, organisations)
    return Server(settings, bot, github, desk_of(bot, threads, threads, library, login), role)


def address_by(forge: GitHubForge) -> Callable[[Repository], Awaitable[Remote]]:
    """Say where repositories on GitHub are, with the token that opens them."""

    async def address(repository: Repository) -> Remote:
        url, token = await forge.remote(repository)
        return Remote(url, token)

    return address
