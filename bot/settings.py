"""The settings of a server: `ORCHESTRATE_*`, read once, each with its default and its reason."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot.errors import OperatorError

_SECRET = re.compile(
    r"(?:_|^)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS|PAT)\Z", re.IGNORECASE
)


def _data_dir() -> Path:
    return Path.home() / ".local" / "share" / "orchestrate"


def _tools() -> tuple[Path, ...]:
    """The Python that the bot was made with, where jobs could not see it otherwise."""
    base = Path(sys.base_prefix)
    return () if base.is_relative_to("/usr") else (base,)


class OwnAgent(BaseModel):
    """An agent of the operator's own; `models` are the makers whose models it may use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str
    speaks: Literal["text", "acp"] = "text"
    models: tuple[Literal["anthropic", "openai", "gemini", "copilot"], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _command_alone(cls, value: Any) -> Any:
        return {"command": value} if isinstance(value, str) else value


class Settings(BaseSettings):
    """What whoever runs the server decides."""

    model_config = SettingsConfigDict(env_prefix="ORCHESTRATE_", extra="ignore", frozen=True)

    data_dir: Path = Field(
        default_factory=_data_dir,
        description="The folder for the database, the mirrors and the logs.",
    )
    database_url: str = Field(
        default="",
        description="The database; without it a SQLite file in the data folder.",
    )
    github_api_url: str = Field(
        default="https://api.github.com",
        description="GitHub's REST address; a GitHub Enterprise Server's ends in /api/v3.",
    )
    policy_file: Path | None = Field(
        default=None,
        description="A file of the form of `.github/orchestrate.yml` that bounds those of all"
        " repositories: what it limits, protects or asks of people, none of them can loosen."
        " Approvals keep a copy of it in the repository's records.",
    )
    app_id: str = Field(default="", description="The number of the GitHub App.")
    private_key: SecretStr = Field(
        default=SecretStr(""), description="The App's private key, in PEM form."
    )
    private_key_file: Path | None = Field(
        default=None, description="A file with the App's private key, in place of the key itself."
    )
    webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="The secret that GitHub signs webhooks with."
    )
    host: str = Field(default="127.0.0.1", description="The address that the server listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="The port it listens on.")
    sandbox: Literal["auto", "bubblewrap", "landlock", "none"] = Field(
        default="auto",
        description=(
            "How agents and checks are contained: `bubblewrap`, or `landlock` where namespaces "
            "are refused; `auto` takes the first that works here. `none` runs them as this "
            "server's own user, with all that it may read."
        ),
    )
    sandbox_uid: int = Field(
        default=65_530,
        ge=1,
        lt=2**32 - 1,
        description=(
            "The user's number that jobs have where this server is root: one that nobody else "
            "uses, and that containers have."
        ),
    )
    job_megabytes: int = Field(
        default=4096,
        ge=64,
        description=(
            "Memory that all processes of one job may take, in MB: an agent peaks at 300 to 700, "
            "and the compiler or browser that it starts needs the rest."
        ),
    )
    job_processes: int = Field(
        default=2048,
        ge=16,
        description=(
            "Processes and threads that one job may have: an agent has forty, a build some "
            "hundreds, and a fork bomb ends here."
        ),
    )
    job_cpus: float = Field(
        default=4.0,
        ge=0.1,
        description=(
            "Cores that one job may keep busy: what a build makes use of, so that no job has a "
            "large machine to itself."
        ),
    )
    tools: Annotated[tuple[Path, ...], NoDecode] = Field(
        default_factory=_tools,
        description=(
            "Folders outside /usr with programs for agents and checks, separated by colons; "
            "the sandbox shows them read-only and puts their bin/ on the path."
        ),
    )
    workspaces: Literal["auto", "overlay", "rootless", "checkout"] = Field(
        default="auto",
        description=(
            "How workspaces are made: `overlay` mounts as root, `rootless` ones in a user "
            "namespace, or a full `checkout` for each; `auto` takes the first that works here."
        ),
    )
    disk_megabytes: int = Field(
        default=10_240,
        ge=1,
        description=(
            "What one run's workspace may take of the disk, in MB: what a large project installs "
            "and builds is some gigabytes, and several runs work at once."
        ),
    )
    setup_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Hosts that the set-up of a repository's environment may reach, the registries of its "
            "package managers first of all, separated by commas: `host`, `host:port` or `*.host`. "
            "None, until you name them: a set-up says which it asked for. The mirrors that "
            "PIP_INDEX_URL, npm_config_registry and their like name on this server are reached as "
            "well."
        ),
    )
    setup_secrets: dict[str, dict[str, SecretStr]] = Field(
        default_factory=dict,
        description=(
            "Values that the set-up of one repository is given, and nothing else, as JSON: "
            '{"acme/widgets": {"INDEX_TOKEN": "…"}}. Its configuration names those it needs.'
        ),
    )
    environment_days: int = Field(
        default=14,
        ge=1,
        description=(
            "Days for which an environment that no run uses is kept: a branch that is worked on "
            "is used more often."
        ),
    )
    environment_megabytes: int = Field(
        default=20_480,
        ge=1,
        description=(
            "What all environments may take of the disk, in MB, before the ones longest unused "
            "go: a large project's is one or two gigabytes."
        ),
    )
    git_workers: int = Field(
        default=2,
        ge=1,
        le=64,
        description=(
            "Processes for git work, started as they are needed: one for each core, since they "
            "compress and hash."
        ),
    )
    agents: dict[str, OwnAgent] = Field(
        default_factory=dict,
        description=(
            'Commands by agent name, as JSON: {"ruff": "ruff check --fix"}; or more about one: '
            '{"mine": {"command": "my-agent --acp", "speaks": "acp", "models": ["anthropic"]}}.'
        ),
    )
    agent: str = Field(
        default="", description="The agent of runs that name none, unless the repository does."
    )
    models: dict[str, str] = Field(
        default_factory=dict,
        description=(
            'The model of an agent, by its name, as JSON: {"codex": "gpt-5-codex"}; without it '
            "the agent's own choice."
        ),
    )
    agent_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Hosts that agents may reach while they work, separated by commas: `example.org`, "
            "`example.org:8443` or `*.example.org`. None, since what they read they could send."
        ),
    )
    silent_minutes: float = Field(
        default=15.0,
        gt=0,
        description=(
            "How long an agent may give no sign of life, in minutes: a build or a test run that it "
            "waits for says nothing until it ends, and more than a quarter of an hour is rare."
        ),
    )
    workers: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="Runs worked on at once: twice a small machine's cores.",
    )
    server_runs: int = Field(
        default=0,
        ge=0,
        description=(
            "Runs that all processes together work on at once; 0 for as many as they can, which is "
            "ORCHESTRATE_WORKERS for each of them."
        ),
    )
    installation_runs: int = Field(
        default=0,
        ge=0,
        description=(
            "Runs of one installation that are worked on at once; 0 for no such limit, since most "
            "servers have one installation. Where several share a server, less than it can."
        ),
    )
    repository_runs: int = Field(
        default=0,
        ge=0,
        description=(
            "Runs of one repository that are worked on at once; 0 for three quarters of what the "
            "server can, so that there is room at once for another one."
        ),
    )
    agent_runs: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description=(
            'Runs at once by the name of their agent, as JSON: {"claude": 2}. None is limited '
            "until you do: what an account at a model's maker takes differs."
        ),
    )
    patience_minutes: float = Field(
        default=180.0,
        ge=0,
        description=(
            "How long a run waits for GitHub, or anything else that is out of reach, in minutes, "
            "before it fails: longer than all but a few of GitHub's outages. It waits without "
            "being in the way of others, and tries again every few minutes."
        ),
    )
    lease_seconds: float = Field(
        default=5.0,
        ge=2.0,
        le=60.0,
        description=(
            "With PostgreSQL: seconds without a sign of life after which a worker counts as dead, "
            "and others go on with its runs; it ends itself by then. Long enough for a busy "
            "machine, short enough that nobody waits."
        ),
    )
    drain_seconds: float = Field(
        default=60.0,
        ge=0,
        description=(
            "With PostgreSQL: how long a worker that is told to end waits for its agents and "
            "checks, in seconds; then it stops them, keeps what they did, and others go on. Give "
            "what ends it (systemd, Docker, Kubernetes) half a minute more."
        ),
    )
    prices: Path | None = Field(
        default=None,
        description="A file with prices of models over those that come with the program, as TOML.",
    )
    private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Hosts of your own network that jobs may reach where policy names them as well, as "
            "host:port separated by commas; all others at private addresses are refused."
        ),
    )
    log_days: int = Field(
        default=30,
        ge=1,
        description=(
            "Days for which the logs of turns and checks are kept: as long as somebody may ask "
            "why a change was made; the record stays for ever."
        ),
    )
    workflow_days: float = Field(
        default=7.0,
        ge=0,
        description=(
            "Days for which it is kept how each piece of work went, step by step: for as long as "
            "somebody may look into a failure. The run's own record stays."
        ),
    )
    delivery_days: float = Field(
        default=4.0,
        ge=3,
        description=(
            "Days for which webhooks are kept that were obeyed or set aside: one more than the "
            "three for which GitHub may deliver one again."
        ),
    )
    workspace_days: float = Field(
        default=14.0,
        ge=0,
        description=(
            "Days for which an agent's home is kept once its run is done or cancelled: for as long "
            "as somebody may look at what it left there."
        ),
    )
    mirror_days: float = Field(
        default=60.0,
        ge=1,
        description=(
            "Days for which the mirror of a repository is kept that no run uses: it is cloned "
            "again when one does, which takes time only then."
        ),
    )
    output_megabytes: int = Field(
        default=20, ge=1, description="Output of one turn or check that is kept, in MB."
    )
    blobless_megabytes: int = Field(
        default=250,
        ge=0,
        description=(
            "Repositories over this size, in MB, are mirrored without the contents of old files: "
            "a full clone takes over 20 seconds at 100 Mbit/s, before the first run begins."
        ),
    )
    onboarding: bool = Field(
        default=True,
        description=(
            "Whether repositories that the App is newly installed on, and that have no "
            "configuration, are proposed one by a pull request, once."
        ),
    )
    reconcile_minutes: float = Field(
        default=5.0, gt=0, description="How often lost webhooks are looked for, in minutes."
    )
    poll_seconds: float = Field(
        default=0.0,
        ge=0,
        description=(
            "How often GitHub is asked what happened, in seconds, where no webhook can reach this "
            "server; 0 for webhooks alone. `serve --poll 15s` sets it."
        ),
    )
    poll_requests_an_hour: int = Field(
        default=2_000,
        ge=1,
        description=(
            "Requests an hour that asking may take, over all repositories: two fifths of the 5,000 "
            "that GitHub gives an installation, since the work itself needs the rest. With more "
            "repositories than it is enough for, each is asked less often."
        ),
    )
    gather_seconds: float = Field(
        default=0.5,
        ge=0,
        description=(
            "How long changes of a run are gathered before GitHub is drawn anew: fewer edits, "
            "and people do not read faster."
        ),
    )
    write_spacing_seconds: float = Field(
        default=1.0,
        ge=0,
        description="Pause between writes to GitHub once a burst is used up, as GitHub asks for.",
    )

    @field_validator("tools", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part for part in value.split(":") if part] if isinstance(value, str) else value

    @field_validator("setup_hosts", "private_hosts", "agent_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        return value.replace(",", " ").lower().split() if isinstance(value, str) else value

    @property
    def database(self) -> str:
        """The database's address, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir / 'orchestrate.db'}"

    def pem(self) -> str:
        """Return the App's private key; `OperatorError` says what to set when there is none."""
        if self.private_key_file is not None:
            try:
                return self.private_key_file.read_text()
            except OSError as error:
                raise OperatorError(
                    f"ORCHESTRATE_PRIVATE_KEY_FILE cannot be read: {error.strerror}."
                ) from error
        # A key in an environment variable often has its line ends written out.
        return self.private_key.get_secret_value().replace("\\n", "\n")

    def secrets(self, environ: Mapping[str, str]) -> frozenset[str]:
        """Return every secret that this server was given, which is to be written nowhere.

        Of the environment these are the variables whose names say so: models' keys and tokens.
        """
        named = [value for name, value in environ.items() if _SECRET.search(name)]
        setup = [value for each in self.setup_secrets.values() for value in each.values()]
        given = [each.get_secret_value() for each in (*setup, self.webhook_secret)]
        password = unquote(urlsplit(self.database_url).password or "")
        with contextlib.suppress(OperatorError):  # a key that cannot be read cannot be told either
            given.append(self.pem())
        return frozenset(each for each in (*named, *given, password) if each)

    def missing(self) -> list[str]:
        """Name the variables without which there is no GitHub App."""
        wanted = {
            "ORCHESTRATE_APP_ID": self.app_id,
            "ORCHESTRATE_PRIVATE_KEY or ORCHESTRATE_PRIVATE_KEY_FILE": self.pem(),
        }
        if not self.poll_seconds:
            wanted["ORCHESTRATE_WEBHOOK_SECRET"] = self.webhook_secret.get_secret_value()
        return [name for name, value in wanted.items() if not value]


def load(**given: Any) -> Settings:
    """Read the settings; `OperatorError` names the first variable that is wrong."""
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "ORCHESTRATE_" + "_".join(str(part) for part in first["loc"][:1]).upper()
        raise OperatorError(f"{name} is wrong: {first['msg']}.") from error
