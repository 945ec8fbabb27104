from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import ConfigError
from bot.sandbox.gateway import hosts


@pytest.mark.parametrize(
    ("rule", "host", "port", "allowed"),
    [
        ("registry.example", "registry.example", 443, True),
        ("registry.example", "registry.example", 80, True),
        ("registry.example", "registry.example", 22, False),
        ("registry.example", "www.registry.example", 443, False),
        ("registry.example", "evilregistry.example", 443, False),
        ("registry.example", "registry.example.evil.example", 443, False),
        ("Registry.example.", "registry.example", 443, True),
        ("registry.example:8443", "registry.example", 8443, True),
        ("registry.example:8443", "registry.example", 443, False),
        ("*.files.example", "files.files.example", 443, True),
        ("*.files.example", "a.b.files.example", 443, True),
        ("*.files.example", "files.example", 443, False),
        ("*.files.example", "evilfiles.example", 443, False),
        ("*.example.org:8080", "a.example.org", 8080, True),
        ("bücher.example", "xn--bcher-kva.example", 443, True),
        ("10.0.0.5:80", "10.0.0.5", 80, True),
        ("[fd00::5]:80", "fd00::5", 80, True),
        ("registry", "registry", 443, True),
    ],
)
def test_a_rule_allows_what_it_names(rule: str, host: str, port: int, allowed: bool) -> None:
    assert hosts.rule(rule).allows(host, port) is allowed


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "*",
            "*.",
            "*.com",
            "*.*.org",
            "a b",
            "a/b",
            "https://registry.example",
            "registry.example:",
        ),
        *(
            "registry.example:0",
            "registry.example:99999",
            "registry.example:x",
            "-a.org",
            "a..b",
            "user@registry.example",
        ),
        *("*.10.0.0.1", "[::1", "127.1", "0x7f000001", "2130706433", "a" * 64 + ".org"),
    ],
)
def test_what_is_no_host_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a host"):
        hosts.rule(text)


@pytest.mark.parametrize(
    ("authority", "told"),
    [
        ("Registry.example:443", ("registry.example", 443)),
        ("registry.example", ("registry.example", None)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", None)),
        ("::1", ("", None)),
        ("::1:80", ("", None)),
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("[::ffff:7f00:1]:80", ("::ffff:7f00:1", 80)),
        ("0177.0.0.1:80", ("", 80)),
        ("127.1:80", ("", 80)),
        ("a.org:80:90", ("", None)),
        ("[::1]x:80", ("", None)),
    ],
)
def test_a_host_and_its_port_are_read(authority: str, told: tuple[str, int | None]) -> None:
    assert hosts.split(authority) == told


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.1.2.3", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2001:db8::1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "fec0::1"),
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_addresses_that_are_not_of_the_internet_are_told(address: str) -> None:
    assert not hosts.public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "151.101.0.223", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::"]
)
def test_addresses_of_the_internet_are_told(address: str) -> None:
    assert hosts.public(ipaddress.ip_address(address))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    host, port = hosts.split(text)
    assert host == hosts.normal(host)
    assert port is None or port >= 0
    try:
        found = hosts.rule(text)
    except ConfigError:
        return
    assert found.host == hosts.normal(found.host)
