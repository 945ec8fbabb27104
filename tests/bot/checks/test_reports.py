from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.checks.reports import ANNOTATIONS, LINE_MAX, REPORT_BYTES, Report, parse

PYTEST = """<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="3">
<testcase classname="tests.test_core" name="test_adds" file="tests/test_core.py" line="3"/>
<testcase classname="tests.test_core" name="test_divides" file="tests/test_core.py" line="6">
<failure message="assert 1 == 2">    def test_divides():
&gt;       assert halve(2) == 2
E       assert 1 == 2

tests/test_core.py:8: in test_divides
    halve(2)
widgets/core.py:4: AssertionError</failure></testcase>
<testcase classname="tests.test_core" name="test_later"><skipped message="not yet"/></testcase>
</testsuite></testsuites>"""

PYTEST_WITHOUT_FILE = """<testsuite><testcase classname="tests.test_core.TestIt" name="test_x">
<failure message="boom">no place here</failure></testcase></testsuite>"""

JEST = """<testsuites><testsuite name="adds"><testcase classname="adds two" name="adds two">
<failure>Error: expected 3
    at Object.toBe (/workspace/src/add.test.js:12:17)
    at run (/workspace/../usr/lib/node_modules/jest/run.js:1:1)</failure></testcase></testsuite>
</testsuites>"""

SUREFIRE = """<testsuite xmlns="http://maven.apache.org/x"><testcase name="adds"
classname="com.acme.WidgetTest"><error message="boom" type="X">java.lang.AssertionError: boom
	at org.junit.Assert.fail(Assert.java:89)
	at com.acme.WidgetTest.adds(WidgetTest.java:21)
</error></testcase></testsuite>"""

FILES = {
    "tests/test_core.py",
    "widgets/core.py",
    "src/add.test.js",
    "src/test/java/com/acme/WidgetTest.java",
}


def read(text: str, **changes: Any) -> Report:
    given = {"workspace": "/workspace", "exists": FILES.__contains__}
    return parse(text.encode(), **{**given, **changes})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (PYTEST, ("tests/test_core.py", 8)),
        (PYTEST_WITHOUT_FILE, ("tests/test_core.py", 1)),
        (JEST, ("src/add.test.js", 12)),
        (SUREFIRE, ("src/test/java/com/acme/WidgetTest.java", 21)),
    ],
    ids=["pytest", "pytest without file", "jest", "surefire"],
)
def test_a_failure_is_annotated_at_its_line(text: str, place: tuple[str, int]) -> None:
    (annotation,) = read(text).annotations
    assert (annotation.path, annotation.start_line) == place
    assert annotation.level == "failure"
    assert annotation.message


def test_tests_are_counted() -> None:
    report = read(PYTEST)
    assert (report.tests, report.failed, report.skipped) == (3, 1, 1)
    assert [failed.name for failed in report.failures] == ["tests.test_core::test_divides"]
    assert report.failures[0].why == "assert 1 == 2"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.py", "tests/../../x.py", "/workspace/../etc/x", "absent.py"]
)
def test_paths_outside_the_repository_are_dropped(path: str) -> None:
    report = read(
        f'<testsuite><testcase name="t" file="{path}"><failure>{path}:3: no</failure></testcase>'
        "</testsuite>"
    )
    assert (report.failed, report.annotations) == (1, ())


def test_nested_suites_are_read_and_their_file_counts() -> None:
    report = read(
        '<testsuites><testsuite><testsuite file="tests/test_core.py"><testcase name="t" line="-4">'
        "<error/></testcase></testsuite></testsuite></testsuites>"
    )
    assert [(a.path, a.start_line) for a in report.annotations] == [("tests/test_core.py", 1)]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><testsuite name="&b;"></testsuite>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite>&a;</testsuite>'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   ",
        b"no report",
        b"<testsuite>",
        b"<html/>",
        b"{",
        b"{}",
        b"[]",
        b'{"runs": 3}',
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="nonsense"?><testsuite/>',
        BOMB.encode(),
        EXTERNAL.encode(),
        b'{"runs": ' + b"[" * 100_000,
        b"x" * (REPORT_BYTES + 1),
    ],
    ids=range(15),
)
def test_what_cannot_be_read_is_a_sentence(data: bytes) -> None:
    report = parse(data, workspace="/workspace")
    assert report.kind == "none"
    assert report.problem.startswith("The check's report ")
    assert report.problem.endswith(".")


def test_deep_and_large_reports_are_read() -> None:
    depth = 20_000
    deep = "<testsuite>" * depth + '<testcase name="t"/>' + "</testsuite>" * depth
    assert read(deep).tests == 1
    case = '<testcase name="t" file="tests/test_core.py"><failure>no</failure></testcase>'
    many = read(f"<testsuite>{case * 1000}</testsuite>")
    assert (many.failed, len(many.annotations)) == (1000, ANNOTATIONS)


@given(st.text(max_size=200), st.text(max_size=50))
def test_no_text_in_a_report_is_an_error(message: str, path: str) -> None:
    result = {
        "message": {"text": message},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": path}}}],
    }
    report = parse(json.dumps({"runs": [{"results": [result]}]}).encode(), workspace="/workspace")
    assert report.findings == 1
    for annotation in report.annotations:
        assert not annotation.path.startswith("/")
        assert ".." not in annotation.path.split("/")
        assert annotation.message


@given(st.binary(max_size=200))
def test_no_bytes_are_an_error(data: bytes) -> None:
    for start in (b"", b"<testsuite>", b'{"runs":['):
        parse(start + data, workspace="/workspace")


def sarif(*results: object, rules: object = ()) -> Report:
    log = {"runs": [{"tool": {"driver": {"rules": rules}}, "results": results}]}
    return read(json.dumps(log))


def finding(uri: str = "widgets/core.py", **changes: Any) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": uri}, "region": {"startLine": 3, "endLine": 5}}
    given = {
        "ruleId": "E1",
        "message": {"text": "bad"},
        "locations": [{"physicalLocation": place}],
    }
    return {**given, **changes}


@pytest.mark.parametrize(
    "uri", ["widgets/core.py", "file:///workspace/widgets/core.py", "./widgets/c%6Fre.py"]
)
def test_a_sarif_result_is_annotated(uri: str) -> None:
    (annotation,) = sarif(finding(uri)).annotations
    assert (annotation.path, annotation.start_line, annotation.end_line) == (
        "widgets/core.py",
        3,
        5,
    )
    assert (annotation.level, annotation.message, annotation.title) == ("warning", "bad", "E1")


@pytest.mark.parametrize(
    ("level", "shown"), [("error", "failure"), ("warning", "warning"), ("note", "notice")]
)
def test_sarif_levels_come_from_the_result_or_its_rule(level: str, shown: str) -> None:
    rule = {"id": "E1", "defaultConfiguration": {"level": level}}
    assert sarif(finding(level=level)).annotations[0].level == shown
    assert sarif(finding(), rules=[{"no": "id"}, rule]).annotations[0].level == shown


@pytest.mark.parametrize(
    "changes", [{"level": "none"}, {"kind": "pass"}, {"suppressions": [{"kind": "inSource"}]}]
)
def test_sarif_results_that_are_no_findings_are_not_counted(changes: dict[str, Any]) -> None:
    assert sarif(finding(**changes)).findings == 0


def test_a_bad_sarif_result_does_not_hide_the_others() -> None:
    report = sarif({"message": 3}, finding(locations=[{"physicalLocation": 1}]), "x", finding())
    assert (report.findings, len(report.annotations)) == (1, 1)


@pytest.mark.parametrize("uri", ["http://example.org/widgets/core.py", "../x.py", "//[x", ""])
def test_sarif_paths_outside_the_repository_are_dropped(uri: str) -> None:
    report = sarif(finding(uri))
    assert (report.findings, report.annotations) == (1, ())


def test_lines_stay_within_what_github_takes() -> None:
    case = "<testcase name='t' file='widgets/core.py' line='999999999'><failure/></testcase>"
    assert read(f"<testsuite>{case}</testsuite>").annotations[0].start_line == LINE_MAX
