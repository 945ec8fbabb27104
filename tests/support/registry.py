"""A registry of Python packages on this machine, so that a set-up needs no network in tests.

It listens on 127.0.0.2, which is as much this machine as 127.0.0.1, but no name for it that
programs reach without a proxy.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.2"


@dataclass(slots=True)
class Registry:
    """What is there by path, and the paths that were asked for."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        """The registry as an allow-list names it."""
        return f"{HOST}:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """What an operator sets who has such a mirror."""
        return {"PIP_INDEX_URL": f"http://{self.host}/simple", "PIP_TRUSTED_HOST": HOST}

    def add(self, name: str, version: str, source: str, script: str = "") -> str:
        """Publish a package of one module; return the line of a requirements file that pins it."""
        wheel = _wheel(name, version, source, script)
        file = f"{name}-{version}-py3-none-any.whl"
        digest = hashlib.sha256(wheel).hexdigest()
        self.files[f"/files/{file}"] = wheel
        link = f'<a href="/files/{file}#sha256={digest}">{file}</a>\n'
        page = f"/simple/{name}/"
        self.files[page] = self.files.get(page, b"<!DOCTYPE html>\n") + link.encode()
        return f"{name}=={version} --hash=sha256:{digest}\n"


@contextlib.contextmanager
def registry() -> Iterator[Registry]:
    """Serve a registry for as long as the context lasts."""
    made = Registry()
    server = ThreadingHTTPServer((HOST, 0), partial(_Handler, made))
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, made: Registry, *args: object) -> None:
        self._made = made
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._made.asked.append(self.path)
        found = self._made.files.get(self.path)
        self.send_response(404 if found is None else 200)
        kind = "text/html" if self.path.endswith("/") else "application/octet-stream"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


def _wheel(name: str, version: str, source: str, script: str) -> bytes:
    info = f"{name}-{version}.dist-info"
    files: Mapping[str, str] = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        **({f"{info}/entry_points.txt": f"[console_scripts]\n{script}\n"} if script else {}),
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return packed.getvalue()
