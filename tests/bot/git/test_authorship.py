from __future__ import annotations

from pathlib import Path

from bot.git.authorship import pushed
from bot.git.mirror import Mirror, fetch
from bot.git.remote import Remote
from tests.bot.git.conftest import commit_all, sh


async def test_what_people_pushed_is_read_without_what_came_from_the_base(
    origin: Path, mirror: Mirror
) -> None:
    sh(origin, "checkout", "-q", "-b", "work")
    head = commit_all(origin, "Checkpoint")
    sh(origin, "checkout", "-q", "main")
    commit_all(origin, "On the base, signed off by nobody")
    sh(origin, "checkout", "-q", "work")
    bare = commit_all(origin, "Subject\n\nSigned-off-by: nobody\nsaid: Signed-off-by: <a@b>")
    sh(origin, "merge", "-q", "--no-ff", "-m", "Bring main in", "main")
    sh(origin, "commit", "-q", "--allow-empty", "--signoff", "-m", "Mine\n\n(cherry picked)")
    sh(origin, "commit", "-q", "--allow-empty", "-m", "x\n\nSIGNED-OFF-BY: Bob <bob@x.org>\r")
    await fetch(mirror, Remote(str(origin)))
    found = pushed(mirror, head, sh(origin, "rev-parse", "work"), "main")
    assert [(each.signed_off_by, each.is_merge) for each in found] == [
        (("bob@x.org",), False),
        (("ada@example.org",), False),
        ((), True),
        ((), False),
    ]
    assert found[-1].sha == bare
    assert {(each.author, each.address) for each in found} == {("Ada", "ada@example.org")}
    # A base that is not there hides nothing, and nobody fails for it.
    assert len(pushed(mirror, head, sh(origin, "rev-parse", "work"), "gone")) == 5
