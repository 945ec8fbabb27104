"""Set-ups from the public registries, by the real package managers, in the real sandbox.

Without the registries the tests say so and are skipped.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pip._internal.models.index import PyPI

ORCHESTRATE = Path(sys.executable).with_name("orchestrate")
REQUIREMENTS = (
    "six==1.16.0 --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254\n"
)
PACKAGE = {"name": "x", "version": "1.0.0", "dependencies": {"is-number": "6.0.0"}}
LOCK = {
    "name": "x",
    "version": "1.0.0",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": PACKAGE,
        "node_modules/is-number": {
            "version": "6.0.0",
            "integrity": "sha512-Wu1VHeILBK8KAWJUAiSZQX94GmOE45Rg6/538fKwiloUu21KncEkYGPqob2oSZ5m"
            "UT73vLGrHQjKw3KMPwfDzg==",
        },
    },
}

PIP_HOSTS = (PyPI.netloc, PyPI.file_storage_domain)
"""The index that pip asks by itself, and where its files are."""

SIX = {
    "wheel": "sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254",
    "sdist": "sha256:1e61c37477a1626458e36f7b1d82aa5c9b094fa4802892072e49de9c60c4c926",
}
PYPROJECT = f"""
[project]
name = "x"
version = "1.0.0"
requires-python = ">=3.9"
dependencies = ["six==1.16.0"]

[tool.uv]
package = false

[tool.poetry]
package-mode = false

[[tool.poetry.source]]
name = "index"
url = "https://{PyPI.netloc}/simple/"
priority = "primary"
"""
UV_LOCK = f"""
version = 1
revision = 3
requires-python = ">=3.9"

[[package]]
name = "six"
version = "1.16.0"
source = {{ registry = "https://{PyPI.netloc}/simple" }}
wheels = [
    {{ url = "https://{PyPI.file_storage_domain}/packages/d9/5a/e7c31adbe875f2abbb91bd84cf2dc52d\
792b5a01506781dbcf25c91daf11/six-1.16.0-py2.py3-none-any.whl", hash = "{SIX["wheel"]}" }},
]

[[package]]
name = "x"
version = "1.0.0"
source = {{ virtual = "." }}
dependencies = [
    {{ name = "six" }},
]

[package.metadata]
requires-dist = [{{ name = "six", specifier = "==1.16.0" }}]
"""
POETRY_LOCK = f"""
[[package]]
name = "six"
version = "1.16.0"
description = "Python 2 and 3 compatibility utilities"
optional = false
python-versions = ">=2.7"
groups = ["main"]
files = [
    {{file = "six-1.16.0-py2.py3-none-any.whl", hash = "{SIX["wheel"]}"}},
    {{file = "six-1.16.0.tar.gz", hash = "{SIX["sdist"]}"}},
]

[package.source]
type = "legacy"
url = "https://{PyPI.netloc}/simple"
reference = "index"

[metadata]
lock-version = "2.1"
python-versions = ">=3.9"
content-hash = "ac3fe92afdadaa8b590e7a97988e7ead32490bf1117d128cd259aa3222bf6adf"
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("real")]


@dataclass(frozen=True)
class Hosts:
    """Registries that a set-up may reach, and those of them at private addresses here."""

    names: str
    private: str


def reach(*hosts: str) -> Hosts:
    """Skip without the hosts."""
    private = []
    for host in hosts:
        try:
            with socket.create_connection((host, 443), timeout=10) as connected:
                address = ipaddress.ip_address(connected.getpeername()[0])
        except OSError as error:
            pytest.skip(f"{host} cannot be reached: {error}")
        if not address.is_global:
            private.append(f"{host}:443")
    return Hosts(",".join(hosts), ",".join(private))


def run(folder: Path, hosts: Hosts, agent: str, check: str) -> dict[str, Any]:
    """Commit the folder, run a command on it, and return what came of it."""
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for args in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "First")):
        subprocess.run(["git", *args], cwd=folder, check=True)
    command = ("--agent-command", agent, "--check", check, "--json")
    data = str(folder.parent / "data")
    done = subprocess.run(
        [ORCHESTRATE, "run", "Do it", "--repo", str(folder), *command],
        env={
            **os.environ,
            "ORCHESTRATE_DATA_DIR": data,
            "ORCHESTRATE_SETUP_HOSTS": hosts.names,
            "ORCHESTRATE_PRIVATE_HOSTS": hosts.private,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def committed(folder: Path, summary: dict[str, Any]) -> str:
    """Name the files of the one checkpoint."""
    (made,) = summary["checkpoints"]
    told = subprocess.run(
        ["git", "show", "--name-only", "--format=", made["sha"]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout


def test_pip_installs_from_its_index(tmp_path: Path) -> None:
    hosts = reach(*PIP_HOSTS)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    ask = "python3 -c 'import six; print(six.__version__, six.__file__)'"
    summary = run(folder, hosts, f"{ask} > said; touch .venv/litter", f"{ask} | cmp - said")
    assert summary["state"] == "awaiting_review", summary["reason"]
    assert committed(folder, summary) == "said\n"


# Poetry with all that it needs takes most of a minute to install.
SLOW = pytest.mark.skipif(os.environ.get("ORCHESTRATE_TEST_LONG") != "all", reason="a minute")


@pytest.mark.parametrize(
    ("name", "lock"),
    [
        pytest.param("uv", UV_LOCK, id="uv"),
        pytest.param("poetry", POETRY_LOCK, id="poetry", marks=SLOW),
    ],
)
def test_managers_of_projects_come_from_the_index_themselves(
    tmp_path: Path, name: str, lock: str
) -> None:
    hosts = reach(*PIP_HOSTS)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / f"{name}.lock").write_text(lock)
    ask = "python3 -c 'import six; print(six.__version__, six.__file__)'"
    summary = run(folder, hosts, f"{ask} > said", f"{ask} | cmp - said")
    assert summary["state"] == "awaiting_review", summary["reason"]
    assert committed(folder, summary) == "said\n"


@pytest.mark.skipif(shutil.which("npm", path="/usr/bin:/usr/local/bin") is None, reason="no npm")
def test_npm_installs_from_its_registry(tmp_path: Path) -> None:
    told = subprocess.run(
        ["npm", "config", "get", "registry"], capture_output=True, text=True, check=True
    )
    hosts = reach(str(urlsplit(told.stdout.strip()).hostname))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps(PACKAGE))
    (folder / "package-lock.json").write_text(json.dumps(LOCK))
    ask = "node -p 'require(\"is-number\")(3)'"
    summary = run(folder, hosts, f"{ask} > said; rm -r node_modules", f"{ask} | cmp - said")
    assert summary["state"] == "awaiting_review", summary["reason"]
    assert committed(folder, summary) == "said\n"
