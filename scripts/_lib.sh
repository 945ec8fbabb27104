# Read by the other scripts, which set `root` to the repository's folder and stand in it.
# Nothing here prints on standard output: that belongs to what the scripts run.

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# --- programs of the system ---------------------------------------------------------------------

can_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1
}

# apt_install PACKAGE…: waits for another apt, and tries a slow mirror again.
apt_install() {
    say "Installing $* with apt-get."
    apt="apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Acquire::http::Timeout=30"
    export DEBIAN_FRONTEND=noninteractive
    # A list of packages that cannot be renewed may still do.
    $apt update >&2 </dev/null || say "apt-get update failed; going on with the lists that are here."
    $apt install -y --no-install-recommends "$@" >&2 </dev/null
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# Debian keeps the server's own programs off the path.
has_postgresql() {
    has pg_ctlcluster || has initdb
}

has_venv() {
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# Sets `python` to an interpreter that is new enough, one that can make environments if there is.
find_python() {
    python=
    for candidate in python3.13 python3.12 python3.11 python3; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        [ -n "$python" ] || python=$candidate
        if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            python=$candidate
            return
        fi
    done
    [ -n "$python" ]
}

# The package that holds what an interpreter needs to make environments: Debian splits it off.
venv_package() {
    "$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

# require_system [tests]: installs what is missing where it may, and says what it cannot.
require_system() {
    packages=
    if ! find_python; then
        packages="$packages python3 python3-venv"
    elif ! is_made && ! has_venv; then
        packages="$packages $(venv_package)"
    fi
    has git || packages="$packages git"
    has bwrap || packages="$packages bubblewrap"
    if [ "${1:-}" = tests ]; then
        has chromium || packages="$packages chromium"
        has git-lfs || packages="$packages git-lfs"
        has_postgresql || packages="$packages postgresql"
    fi
    [ -n "$packages" ] || return 0
    if can_install; then
        # One by one where together they fail, so that one that is not to be had stops no other.
        # shellcheck disable=SC2086
        apt_install $packages || for package in $packages; do
            apt_install "$package" || say "apt-get could not install $package."
        done
    fi
    say_missing "${1:-}"
}

# lacks PACKAGE SENTENCE: names a package, the command that installs it, and what is lost.
lacks() {
    say "The package $1 is missing (\`apt-get install $1\` as root installs it): $2"
}

say_missing() {
    find_python || die "Python 3.11 or newer is missing (\`apt-get install python3 python3-venv\` \
as root installs it on Debian 12): nothing here works without it."
    if ! is_made && ! has_venv; then
        lacks "$(venv_package)" "without it the environment cannot be made, so this ends here."
        exit 1
    fi
    if ! has git; then
        lacks git "everything is kept in git repositories, so this ends here."
        exit 1
    fi
    if ! has bwrap && [ "${ORCHESTRATE_SANDBOX:-}" != none ]; then
        lacks bubblewrap "without it agents and checks do not run, unless ORCHESTRATE_SANDBOX=none \
lets them run as you, with all that you may read."
    fi
    [ "${1:-}" = tests ] || return 0
    has chromium || lacks chromium "without it the tests of the pages in a browser are skipped."
    has git-lfs || lacks git-lfs "without it the tests of files that Git LFS keeps are skipped."
    has_postgresql || lacks postgresql "without it the tests of several workers are skipped."
}

# --- environments ---------------------------------------------------------------------------------

lock=$root/.venv.lock

# One installation at a time; what another process made meanwhile is found made.
take_lock() {
    waited=0
    while ! mkdir "$lock" 2>/dev/null; do
        [ -d "$lock" ] || [ -w "$root" ] || die "The folder $root cannot be written to: clone it where you may write."
        break_stale_lock
        [ "$waited" != 0 ] || say "Waiting for another installation here to end."
        # The slowest installation that was seen took a few minutes.
        [ "$waited" -lt 900 ] || die "Another installation does not end: remove the folder $lock and try again."
        sleep 1
        waited=$((waited + 1))
    done
    echo $$ >"$lock/pid"
    trap 'rm -rf "$lock"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' HUP TERM
}

# A process that was killed leaves its lock. The second folder keeps two that notice from removing
# each other's new one.
break_stale_lock() {
    holder=$(cat "$lock/pid" 2>/dev/null) || return 0
    if [ -z "$holder" ] || kill -0 "$holder" 2>/dev/null; then
        return 0
    fi
    mkdir "$lock.stale" 2>/dev/null || return 0
    if [ "$(cat "$lock/pid" 2>/dev/null)" = "$holder" ]; then
        rm -rf "$lock"
    fi
    rmdir "$lock.stale"
}

drop_lock() {
    rm -rf "$lock"
    trap - EXIT INT HUP TERM
}

# An environment belongs to its lock file, its place (its programs name it) and its interpreter.
stamp_of() {
    echo "$root/$1 $(cksum <"$2")"
}

stamped() {
    [ -x "$1/bin/python" ] && "$1/bin/python" -c '' 2>/dev/null &&
        [ "$(cat "$1/.stamp" 2>/dev/null)" = "$2" ]
}

pip_install() {
    target=$1
    shift
    "$target/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        --progress-bar off --root-user-action ignore --retries 5 --timeout 60 "$@" >&2 </dev/null
}

is_made() {
    stamped .venv "$(stamp_of .venv requirements.lock)" &&
        stamped .venv-demo "$(stamp_of .venv-demo requirements-demo.lock)"
}

# make_environment FOLDER LOCK: with exactly what the lock file names, by version and hash.
make_environment() {
    stamp=$(stamp_of "$1" "$2")
    if stamped "$1" "$stamp"; then
        return 0
    fi
    say "Installing what $2 names into $1."
    rm -f "$1/.stamp"
    # The lock file is complete, so nothing is left to resolve; old versions of pip fail at it.
    if ! { "$python" -m venv --clear "$1" >&2 &&
        pip_install "$1" --no-deps --require-hashes -r "$2"; }; then
        die "The installation into $1 failed: see above, then run this again."
    fi
    # As later versions of venv do: nothing that looks through the tree looks in here.
    echo '*' >"$1/.gitignore"
    echo "$stamp" >"$1/.stamp"
}

# The project itself, from where it lies; again when what pyproject.toml says may have changed.
install_project() {
    stamp=$(cat .venv/.stamp)$(cksum <pyproject.toml)
    if [ -x .venv/bin/orchestrate ] && [ "$(cat .venv/.project 2>/dev/null)" = "$stamp" ]; then
        return 0
    fi
    pip_install .venv --no-deps --no-build-isolation --editable . ||
        die "The project could not be installed into .venv: see above, then run this again."
    echo "$stamp" >.venv/.project
}

# install [tests]: all that the scripts need, and what the tests need besides.
install() {
    # They would send what is installed, or what is imported, somewhere else.
    unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
    take_lock
    require_system "${1:-}"
    make_environment .venv requirements.lock
    install_project
    # Agents and checks of the demo and of the tests get tools of their own, never the bot's.
    make_environment .venv-demo requirements-demo.lock
    drop_lock
}
