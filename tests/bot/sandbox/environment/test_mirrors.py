from __future__ import annotations

import pytest

from bot.sandbox.environment.mirrors import mirrors


@pytest.mark.parametrize(
    ("environ", "hosts"),
    [
        ({"PIP_INDEX_URL": "https://pip.example.org/simple"}, ("pip.example.org:443",)),
        ({"PIP_EXTRA_INDEX_URL": "http://a.org/x https://b.org:8443"}, ("a.org:80", "b.org:8443")),
        ({"npm_config_registry": "https://npm.example.org/"}, ("npm.example.org:443",)),
        ({"NPM_CONFIG_REGISTRY": "http://127.0.0.2:4873"}, ("127.0.0.2:4873",)),
        ({"UV_INDEX": "ours=https://uv.example.org/simple"}, ("uv.example.org:443",)),
        ({"GOPROXY": "https://go.example.org|https://proxy.example.net,direct"},
         ("go.example.org:443", "proxy.example.net:443")),
        ({"CARGO_REGISTRIES_OURS_INDEX": "sparse+https://c.example.org/index/"},
         ("c.example.org:443",)),
        ({"GOPROXY": "off"}, ()),
        ({"PIP_INDEX_URL": "file:///srv/packages"}, ()),
        ({"HTTPS_PROXY": "http://proxy.example.org:3128", "PIP_INDEX_URL": ""}, ()),
    ],
)  # fmt: skip
def test_the_hosts_of_mirrors_may_be_reached(
    environ: dict[str, str], hosts: tuple[str, ...]
) -> None:
    assert mirrors(environ).hosts == hosts


def test_nothing_of_the_server_is_handed_on_but_mirrors_and_authorities() -> None:
    environ = {
        "PATH": "/bin",
        "ANTHROPIC_API_KEY": "key",
        "ORCHESTRATE_PRIVATE_KEY": "key",
        "AWS_SECRET_ACCESS_KEY": "key",
        "PIP_CONFIG_FILE": "/srv/pip.conf",
        "PIP_INDEX_URL": "https://pip.example.org/simple",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
        "REQUESTS_CA_BUNDLE": "/srv/own.pem",
        "PIP_CERT": "/usr/../srv/own.pem",
    }
    assert mirrors(environ).env == {
        "PIP_INDEX_URL": "https://pip.example.org/simple",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    }


def test_a_password_in_an_address_is_a_secret() -> None:
    found = mirrors({"PIP_INDEX_URL": "https://bot:p%40ssw0rd@pip.example.org/simple"})
    assert found.secrets == {"p@ssw0rd", "p%40ssw0rd"}
    assert found.hosts == ("pip.example.org:443",)
