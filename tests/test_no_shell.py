"""No text from outside becomes a shell's script, but for commands that somebody configured as such.

A shell is started in few places. Its script is a constant of the module, and what varies comes as
arguments or in the environment; or it is the command of a check, an agent or a set-up, as the
configuration has it, which runs in the sandbox and nowhere else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The demo's repository is data.
TEMPLATE = "bot/hub/widgets/"

CONFIGURED = frozenset(
    {
        ("bot/checks/run.py", "command"),
        ("bot/agents/command.py", "command"),
        ("bot/agents/desk.py", "configured.command"),
        ("bot/sandbox/environment/installer.py", "command"),
    }
)
"""Where a script is a configured command."""

SHELLS = frozenset({"sh", "/bin/sh", "bash", "/bin/bash", "dash", "zsh"})
CALLS = frozenset({"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell"})


def found(file: str, text: str) -> Iterator[tuple[str, str]]:
    """Each place where a shell reads a script that is no constant: where, and what."""
    tree = ast.parse(text)
    constants = {name.id for name in _constants(tree)}
    for node in ast.walk(tree):
        where = f"{file}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in CALLS or any(each.arg == "shell" for each in node.keywords):
                yield where, ast.unparse(node)
        if isinstance(node, (ast.Tuple, ast.List)):
            for script in _scripts(node.elts):
                if not (isinstance(script, ast.Name) and script.id in constants):
                    yield where, ast.unparse(script)


def _constants(tree: ast.Module) -> Iterator[ast.Name]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            yield from (each for each in node.targets if isinstance(each, ast.Name))
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant):
            yield from (each for each in (node.target,) if isinstance(each, ast.Name))


def _scripts(parts: list[ast.expr]) -> Iterator[ast.expr]:
    """What stands behind a shell's `-c`, in the words of a command."""
    for at, part in enumerate(parts):
        option = parts[at + 1] if at + 1 < len(parts) else None
        is_shell = isinstance(part, ast.Constant) and part.value in SHELLS
        if is_shell and isinstance(option, ast.Constant) and str(option.value).startswith("-"):
            yield from parts[at + 2 : at + 3]


def files() -> Iterator[tuple[str, str]]:
    for package in ("bot", "handlers", "policies"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(TEMPLATE):
                yield name, path.read_text()


def test_a_shell_reads_constants_and_configured_commands_alone() -> None:
    seen: set[tuple[str, str]] = set()
    wrong = []
    for name, text in files():
        for where, script in found(name, text):
            seen.add((name, script))
            wrong += [f"{where}: {script}"] if (name, script) not in CONFIGURED else []
    assert wrong == []
    assert seen == CONFIGURED, "what is no place of a shell any more is taken off the list"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('os.system(f"git fetch {branch}")', True),
        ("os.popen(line)", True),
        ("await asyncio.create_subprocess_shell(line)", True),
        ("subprocess.run(line, shell=True)", True),
        ("subprocess.run(line, shell=is_simple)", True),
        ('argv = ("/bin/sh", "-c", f"echo {title}")', True),
        ('argv = [*before, "sh", "-ec", line, "sh", path]', True),
        ('argv = ("bash", "-c", "echo " + title)', True),
        ('_DO = "exec $1"\nargv = ("/bin/sh", "-c", _DO, "sh", title)', False),
        ('_DO = f"exec {title}"\nargv = ("/bin/sh", "-c", _DO)', True),
        ('argv = ("git", "fetch", "--", branch)', False),
    ],
)
def test_the_rule_finds_what_it_is_for(text: str, wrong: bool) -> None:
    assert bool(list(found("some.py", text))) is wrong
