"""Made-up secrets, put together as the tests run, so that no scanner finds them in this file."""

from __future__ import annotations

AWS = "AKIA" + "QYLPMN5HHHFPZAM2"
GITHUB = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
SLACK = "-".join(("xoxb", "123456789012", "1234567890123", "abcDEFghiJKLmnoPQRstuVWX"))
STRIPE = "sk_live_" + "51Hq8tXyZa1B2c3D4e5F6g7H"
ANTHROPIC = "sk-ant-" + "api03-" + "aB3_" * 23 + "x" + "AA"
GENERIC = "zaCELgL0imfnc8mV" + "LWwsAawjYr4Rx"
PEM = "\n".join(
    (
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "MIIEpAIBAAKCAQEA04up8hoqzS1APIB0RhjXyObwHQnOzhAk5Bd7mhkSbPkyhP1",
        "iWVBAoGBAPIlI9vPZzzVyIHLULR5IZr8KX1t1oHcVn7A9f9SZ4bRk0vN3ZqgQyZ2",
        "-----END RSA " + "PRIVATE KEY-----",
    )
)
