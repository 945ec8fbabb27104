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
