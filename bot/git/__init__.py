"""Git: mirrors, workspaces, checkpoints and the ledger; the one package that knows pygit2.

    program     the git program, in a clean environment
    remote      where a repository is, and the token that opens it
    mirror      a bare copy of a remote; with it transfer (how it is filled), listing (is there
                anything new?), partial (contents when they are needed), soundness and mend (damage)
    locks       who may write to a mirror, or remove from it
    leases      what runs use of a mirror, pinned; upkeep waits for it
    push        updates of a remote's refs, with a lease
    refs        names to commits, and compare-and-swap
    objects     what a commit holds
    workspace   plain files of a commit
    scan        a look at a workspace without opening anything
    candidate   what an agent left behind
    checkpoint  commits, and (trailers) what their messages say for programs
    rollback    going back, as a new commit
    merge       two commits into one tree
    diff        what changed between two trees
    leaks       what looks like a secret in it
    ledger      a run's record under refs/orchestrate/<run>

Functions on objects are plain functions and may take milliseconds: an event loop calls them through
`asyncio.to_thread`. What runs the git program is a coroutine. Ids are 40 hexadecimal digits. Paths
are `str`, UTF-8 with `surrogateescape`, so that a name in any other encoding survives unchanged.
"""
