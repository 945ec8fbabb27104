"""Read the reports of test runners and linters: JUnit XML and SARIF 2.1.

A report comes out of a sandbox: it may be anything. What cannot be read becomes a sentence, never
an error, and no path in it is believed to lie in the repository until it is seen to.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from bot.checks.model import Annotation, Level
from bot.sandbox.output import clean, clean_lines

REPORT_BYTES = 10 * 1024**2  # a report of ten thousand failing tests is smaller
ANNOTATIONS = 200  # nobody reads more; GitHub takes them fifty a request
MESSAGE_CHARACTERS = 4_000  # GitHub takes 64 KB; what fails is said at the end of it
TITLE_CHARACTERS = 255  # GitHub's limit
LINE_MAX = 10_000_000  # beyond any source file, and within GitHub's integers

Exists = Callable[[str], bool]
_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class Failed:
    """One test that failed, as its runner names it, and the first line of why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says.

    tests, failed, skipped: numbers of tests; all 0 for SARIF, which counts none.
    findings: the number of remarks that a SARIF report makes.
    problem: why the report cannot be read, as a sentence; then everything else is empty.
    """

    kind: Literal["junit", "sarif", "none"]
    tests: int = 0
    failed: int = 0
    skipped: int = 0
    findings: int = 0
    failures: tuple[Failed, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    problem: str = ""


def parse(data: bytes, *, workspace: str, exists: Exists = lambda path: True) -> Report:
    """Read a JUnit or SARIF report, told apart by its first character.

    `workspace` is the path under which the program that wrote the report saw the repository;
    `exists` says whether a path, relative to the repository, is a file of it. Remarks on other
    paths are counted but not annotated.
    """
    if len(data) > REPORT_BYTES:
        return _unreadable("is larger than 10 MB")
    files = _Files(workspace.rstrip("/") + "/", exists)
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"<":
        return _junit(data, files)
    if start == b"{":
        return _sarif(data, files)
    return _unreadable("is neither JUnit XML nor SARIF" if start else "is empty")


def _unreadable(why: str) -> Report:
    return Report("none", problem=f"The check's report {why}.")


@dataclass(frozen=True, slots=True)
class _Files:
    """Turns the paths of a report into paths of the repository."""

    workspace: str
    exists: Exists

    def find(self, path: str) -> str | None:
        """The path relative to the repository, or None for one that is not in it."""
        if "\0" in path or len(path) > 4096:
            return None
        relative = posixpath.normpath(path.removeprefix(self.workspace)) if path else "."
        if relative in (".", "..") or relative.startswith(("/", "../")):
            return None
        return relative if clean(relative) == relative and self.exists(relative) else None


# --- JUnit -----------------------------------------------------------------------------------

# Where tracebacks name a line: Python's own form, pytest's and most compilers', JavaScript's.
_PLACES: Final = (
    re.compile(r'^[ \t]*File "([^"\n]+)", line (\d+)', re.M),
    re.compile(r"^([^\s:][^:\n]*):(\d+): ", re.M),
    re.compile(r"^[ \t]*at (?:[^\n(]*\()?([^\s():][^\n():]*):(\d+)(?::\d+)?\)?[ \t]*$", re.M),
)
# Java's `at com.acme.WidgetTest.adds(WidgetTest.java:12)` names no folder.
_JAVA: Final = re.compile(r"^[ \t]*at ([\w.$]+)\.[\w$<>]+\((\w+\.(?:java|kt)):(\d+)\)", re.M)
_JAVA_ROOTS: Final = ("src/test/java", "src/main/java", "src/test/kotlin", "src/main/kotlin", ".")
_TRACEBACK_CHARACTERS: Final = 100_000  # the end of a traceback is what names the line


def _junit(data: bytes, files: _Files) -> Report:
    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return _unreadable("is not well-formed XML")
    if _name(root) not in ("testsuites", "testsuite"):
        return _unreadable("is XML, but not JUnit's")
    tests = failed = skipped = 0
    failures: list[Failed] = []
    annotations: list[Annotation] = []
    for suite, case in _cases(root):
        tests += 1
        skipped += any(_name(child) == "skipped" for child in case)
        problem = next((each for each in case if _name(each) in ("failure", "error")), None)
        if problem is None:
            continue
        failed += 1
        if len(failures) < ANNOTATIONS:
            failures.append(_failed(case, problem))
        if len(annotations) < ANNOTATIONS:
            annotations += _annotation(suite, case, problem, files)
    return Report(
        "junit", tests, failed, skipped, failures=tuple(failures), annotations=tuple(annotations)
    )


def _cases(root: Element) -> Iterator[tuple[Element, Element]]:
    """Every test with the suite that holds it; suites may be nested, at any depth."""
    waiting = [root]
    while waiting:
        suite = waiting.pop()
        for child in suite:
            if _name(child) == "testcase":
                yield suite, child
            elif _name(child) == "testsuite":
                waiting.append(child)


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _failed(case: Element, problem: Element) -> Failed:
    names = (case.get("classname", ""), case.get("name", ""))
    name = clean("::".join(each for each in names if each))[:TITLE_CHARACTERS]
    lines = _message(problem).split("\n")
    return Failed(name or "a test without a name", lines[0][:TITLE_CHARACTERS])


def _message(problem: Element) -> str:
    return clean_lines((problem.get("message") or problem.text or "").strip())


def _annotation(
    suite: Element, case: Element, problem: Element, files: _Files
) -> tuple[Annotation, ...]:
    place = _place(suite, case, (problem.text or "")[-_TRACEBACK_CHARACTERS:], files)
    if place is None:
        return ()
    path, line = place
    failed = _failed(case, problem)
    text = clean_lines((problem.text or "").strip()) or _message(problem) or "The test failed."
    return (Annotation(path, line, line, "failure", text[-MESSAGE_CHARACTERS:], failed.name),)


def _place(suite: Element, case: Element, text: str, files: _Files) -> tuple[str, int] | None:
    """The file and line of a failure: by its traceback in the test's file, else by the test."""
    own = files.find(case.get("file") or suite.get("file") or "") or _by_class(case, files)
    named = [
        (path, _line(line))
        for pattern in _PLACES
        for raw, line in pattern.findall(text)
        if (path := files.find(raw.removeprefix("file://"))) is not None
    ] + _java(text, files)
    in_own = [place for place in named if place[0] == own]
    if in_own or named:
        return (in_own or named)[-1]
    return None if own is None else (own, _line(case.get("line", "1")))


def _by_class(case: Element, files: _Files) -> str | None:
    """The file of a test class, as Python (`tests.test_a.TestB`) and Java lay theirs out."""
    parts = [part for part in case.get("classname", "").split("$")[0].split(".") if part][:50]
    for end in range(len(parts), 0, -1):
        stem = "/".join(parts[:end])
        candidates = (f"{stem}.py", *(f"{root}/{stem}.java" for root in _JAVA_ROOTS))
        for candidate in candidates:
            if found := files.find(candidate):
                return found
    return None


def _java(text: str, files: _Files) -> list[tuple[str, int]]:
    found = []
    # The first frame in the repository is the nearest; callers take the last of a list.
    for name, file, line in reversed(_JAVA.findall(text)):
        package = name.rpartition(".")[0].replace(".", "/")
        for root in _JAVA_ROOTS:
            if path := files.find(f"{root}/{package}/{file}"):
                found.append((path, _line(line)))
                break
    return found


def _line(text: str) -> int:
    """A line number that GitHub takes, whatever the report says."""
    return min(max(int(text), 1), LINE_MAX) if re.fullmatch(r"[0-9]{1,9}", text) else 1


# --- SARIF -----------------------------------------------------------------------------------


class _Sarif(BaseModel, alias_generator=to_camel):
    """The parts of SARIF 2.1.0 that are read here; unknown keys are ignored."""


class _Message(_Sarif):
    text: str = ""


class _Artifact(_Sarif):
    uri: str = ""


class _Region(_Sarif):
    start_line: Annotated[int, Field(ge=1, le=LINE_MAX)] = 1
    end_line: Annotated[int, Field(ge=1, le=LINE_MAX)] | None = None


class _Physical(_Sarif):
    artifact_location: _Artifact = _Artifact()
    region: _Region = _Region()


class _Location(_Sarif):
    physical_location: _Physical = _Physical()


class _Result(_Sarif):
    rule_id: str = ""
    level: Literal["none", "note", "warning", "error"] | None = None
    kind: str = "fail"
    message: _Message = _Message()
    locations: list[_Location] = []
    suppressions: list[Any] | None = None


class _Configuration(_Sarif):
    level: Literal["none", "note", "warning", "error"] = "warning"


class _Rule(_Sarif):
    id: str
    default_configuration: _Configuration = _Configuration()


class _Driver(_Sarif):
    rules: list[Any] = []


class _Tool(_Sarif):
    driver: _Driver = _Driver()


class _Run(_Sarif):
    tool: _Tool = _Tool()
    results: list[Any] | None = None


class _Log(_Sarif):
    runs: list[_Run]


_RESULT: Final = TypeAdapter(_Result)
_RULE: Final = TypeAdapter(_Rule)
_LEVELS: Final[dict[str, Level]] = {"note": "notice", "warning": "warning", "error": "failure"}


def _sarif(data: bytes, files: _Files) -> Report:
    try:
        log = _Log.model_validate_json(data)
    except (ValidationError, RecursionError):
        return _unreadable("is JSON, but not SARIF's")
    findings = 0
    annotations: list[Annotation] = []
    for run in log.runs:
        defaults = {
            rule.id: rule.default_configuration.level
            for rule in _valid(_RULE, run.tool.driver.rules)
        }
        for result in _valid(_RESULT, run.results or []):
            level = result.level or defaults.get(result.rule_id, "warning")
            if level == "none" or result.kind != "fail" or result.suppressions:
                continue
            findings += 1
            if len(annotations) < ANNOTATIONS:
                annotations += _remark(result, _LEVELS[level], files)
    return Report("sarif", findings=findings, annotations=tuple(annotations))


def _valid(kind: TypeAdapter[_Kind], values: list[Any]) -> Iterator[_Kind]:
    """The values that are what they should be: one bad result does not hide the others."""
    for value in values:
        try:
            yield kind.validate_python(value)
        except (ValidationError, RecursionError):
            continue


def _remark(result: _Result, level: Level, files: _Files) -> tuple[Annotation, ...]:
    if not result.locations:
        return ()
    place = result.locations[0].physical_location
    path = files.find(_path_of(place.artifact_location.uri))
    if path is None:
        return ()
    first = place.region.start_line
    last = max(first, place.region.end_line or first)
    message = _beginning(clean_lines(result.message.text.strip()))
    title = clean(result.rule_id)[:TITLE_CHARACTERS]
    return (Annotation(path, first, last, level, message or title or "A finding.", title),)


def _beginning(text: str) -> str:
    """Cut a remark, and let it be seen."""
    whole = len(text) <= MESSAGE_CHARACTERS
    return text if whole else f"{text[: MESSAGE_CHARACTERS - 1]}…"


def _path_of(uri: str) -> str:
    """The path of a `file:` URI or of a relative reference; anything else names no file of ours."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    return unquote(parts.path) if parts.scheme in ("", "file") else ""
