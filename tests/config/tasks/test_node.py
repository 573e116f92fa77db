"""The config of the DICOM node: what it refuses, and which rule matches."""

from pathlib import Path

import pytest

from ctcycle.config.loading import load_config
from ctcycle.config.tasks.node import CallerSettings, RuleSettings, Serve
from ctcycle.errors import ConfigError

SHIPPED = Path(__file__).parents[3] / "configs" / "serve.yaml"


def test_the_shipped_config_only_listens_on_this_machine() -> None:
    config = load_config(SHIPPED).config
    assert isinstance(config, Serve)
    assert (config.host, config.status.host) == ("127.0.0.1", "127.0.0.1")
    assert all(caller.addresses == ("127.0.0.1",) for caller in config.callers.values())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("ae_title=A TITLE THAT IS TOO LONG", "ae_title"),
        ("callers={'*': {addresses: [hospital]}}", "not an IP address or network"),
        ("callers={}", "callers"),
        ("destinations={}", "destinations"),
        ("destinations={a: {host: h, port: 104}}", "set ae_title, host and port, or set url"),
        ("destinations={a: {ae_title: A, host: h, port: 104, url: 'http://h'}}", "or set url"),
        ("destinations={a: {url: 'ftp://h'}}", "is not a URL"),
        ("destinations={a: {url: 'http://h', commitment: true}}", "storage commitment needs a DICOM peer"),
        ("destinations={a: {url: 'http://h', user: u}}", "both user and password_file"),
        ("rules=[{destinations: [nowhere]}]", "no destination named 'nowhere'"),
        ("rules=[{strength: 3}]", "strength"),
        ("pull={a: {source: nowhere, query: {StudyDate: '20240101'}}}", "no destination named 'nowhere'"),
        ("pull={a: {source: archive, query: {StudyDate: '*'}}}", "matches every study"),
        ("overwrite=true", "a spool is never replaced"),
        ("port=0", "port"),
        ("limits.pdu_kb=1", "pdu_kb"),
    ],
)
def test_what_is_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(SHIPPED, [override])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({}, True),
        ({"kernel": "b30*"}, True),
        ({"kernel": "B30"}, False),
        ({"kernel": "B30*", "body_part": "HEAD"}, False),
        ({"calling": "CT?"}, True),
        ({"calling": "CT"}, False),
    ],
    ids=str,
)
def test_all_patterns_of_a_rule_must_match(rule: dict[str, str], *, matches: bool) -> None:
    assert RuleSettings(**rule).matches("B30f/3", "ABDOMEN", "CT1") is matches  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "admitted"),
    [("10.1.2.3", True), ("10.2.0.1", False), ("::ffff:10.1.2.3", True), ("2001:db8::1", True), ("::1", False)],
)
def test_addresses_of_a_caller(address: str, *, admitted: bool) -> None:
    assert CallerSettings(addresses=("10.1.0.0/16", "2001:db8::/32")).admits(address) is admitted
