"""Names that would be commands if a shell read them: of branches, files, titles, requests.

A check has no such name: it is of letters, digits, blanks, dots, hyphens and underscores.
"""

from __future__ import annotations

from pathlib import Path

from bot.runs.transitions import State
from tests.support.world import Repo, World, dedent

NAME = "a;touch${IFS}pwned;`touch${IFS}pwned`$(touch${IFS}pwned)'\"&|>pwned"
"""As git allows for a branch: without a space."""

WORDS = "$(touch pwned) `touch pwned` ; touch pwned & '\" | touch pwned #"

AGENT = dedent(
    """
    cat > /dev/null
    for name in '$(touch pwned)' '`touch pwned`' '; touch pwned' '-rf' \\
        '--upload-pack=touch pwned' "it's" 'a "b"' \\
        '| touch pwned' '& touch pwned' ':(glob)*' '*' '~'; do
        echo more >> "./$name"
    done
    """
)


def traces(world: World, repo: Repo) -> list[Path]:
    """What a shell would have left where any program of the server's runs."""
    folders = (Path.cwd(), Path("/"), Path.home(), repo.git_dir, *world.folder.glob("bot/*/*/"))
    return [each / "pwned" for each in folders if (each / "pwned").exists()]


async def test_no_name_is_read_by_a_shell(world: World) -> None:
    repo = await world.repository({"agents": {"writer": {"command": AGENT}}})
    writer, maintainer = repo.person("writer"), repo.person("maintainer")
    main = repo.git("rev-parse", "main")
    await writer.post("/git/refs", {"ref": f"refs/heads/{NAME}", "sha": main})
    issue = await writer.issue(f"{WORDS}\n{WORDS}", WORDS)
    await writer.comment(issue, f"/orchestrate {WORDS} --base {NAME}")
    run = await repo.until(issue, lambda run: not run.active)
    assert run.state is State.AWAITING_REVIEW, run.reason
    assert run.base == NAME
    number = run.pull_request or 0
    for words in (
        (f"/retry {WORDS}", "/diff", f"/tell {WORDS}", f"/hold {WORDS}", "/unhold"),
        (f"/orchestrate {WORDS}",),
        ("/rollback 1 --paths '$(touch pwned)' '| touch pwned'",),
        (f"/rollback {NAME}", f"/override {WORDS}", "/update"),
    ):
        await writer.says(number, "\n".join(words))
    run = await repo.run(issue)
    assert (run.state, len(run.checkpoints)) == (State.AWAITING_REVIEW, 3)
    await maintainer.comment(number, f"/approve {run.head[:9]}")
    await repo.until(issue, State.DONE)
    tree = repo.git("ls-tree", "-z", "--name-only", NAME).split("\0")
    assert {"$(touch pwned)", "`touch pwned`", "--upload-pack=touch pwned", "~"} <= set(tree)
    assert not repo.contains("pwned")
    assert traces(world, repo) == []
