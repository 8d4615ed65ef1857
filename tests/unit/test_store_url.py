"""Store URLs: what they mean, what is wrong with them, what of them may be shown and to whom."""

import pytest
import redis

from manager_api.settings import SETTINGS, manager_settings
from store.config import ConfigError
from store.errors import Unsupported
from store.kv import sentinel
from store.kv.connection import connect
from store.kv.url import SentinelUrl, credentials, redacted, sentinel_url, without_credentials

pytestmark = pytest.mark.unit

FULL = "sentinel://ad:s%40e%2Fc@h1:1,[::1]:2,h3/fleet/4?sentinel_user=w&sentinel_password=p%26w"


def test_a_sentinel_url_is_taken_apart():
    assert sentinel_url(FULL) == SentinelUrl(
        sentinels=(("h1", 1), ("::1", 2), ("h3", 26379)),
        name="fleet",
        db=4,
        sentinel_user="w",
        sentinel_password="p&w",
    )
    assert credentials(FULL) == ("ad", "s@e/c")
    assert credentials("sentinel://:x@h/f") == (None, "x")
    plain = sentinel_url("sentinel://h:1/fleet")
    assert (plain.db, plain.sentinel_user, plain.sentinel_password) == (0, None, None)
    assert credentials("sentinel://h:1/fleet") == credentials("redis://h:1/0") == (None, None)


def test_passwords_do_not_show_and_do_not_leave():
    assert redacted(FULL) == (
        "sentinel://ad:***@h1:1,[::1]:2,h3/fleet/4?sentinel_user=w&sentinel_password=***"
    )
    assert redacted("sentinel://h:1/f") == "sentinel://h:1/f"
    assert redacted("redis://u:secret@h:1/0") == "redis://u:***@h:1/0"
    assert redacted("redis://h:1/0") == "redis://h:1/0"
    assert without_credentials(FULL) == (
        "sentinel://h1:1,[::1]:2,h3/fleet/4?sentinel_user=w&sentinel_password=p%26w"
    )
    assert without_credentials("redis://u:p@h:1/0") == "redis://h:1/0"
    assert without_credentials("redis://h:1/0") == "redis://h:1/0"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sentinel://h:1", "name by which the Sentinels know the primary is missing"),
        ("sentinel://h:1/", "name by which the Sentinels know the primary is missing"),
        ("sentinel://h:1,h2:x/f", "port is not a number"),
        ("sentinel://h:0/f", "port is not a number"),
        ("sentinel://h:70000/f", "port is not a number"),
        ("sentinel://h:/f", "port is not a number"),
        ("sentinel://h:1,,h2:1/f", "host is missing"),
        ("sentinel:///f", "host is missing"),
        ("sentinel://[::1/f", "host is missing"),
        ("sentinel://a:b:c/f", "host is missing or malformed"),
        ("sentinel://h:1/f/x", "database, after the name, is not a number"),
        ("sentinel://h:1/f?sentinel_pass=s3cret", "'sentinel_pass' is no option"),
        ("sentinels://:s3cret@h:1/f", "expected redis://"),
        ("sentinle://:s3cret@h:1/f", "expected redis://"),
        ("redis://:s3/cret@h:1/0", "expected redis://"),
        ("h:6379", "expected redis://"),
    ],
)
def test_a_wrong_url_is_refused_and_not_repeated(url, why):
    values = {setting.key: setting.default for setting in SETTINGS} | {"store": url}
    with pytest.raises(ConfigError, match="--store: ") as refused:
        manager_settings(values)
    assert why in str(refused.value)
    assert "s3" not in str(refused.value)


def test_replicated_needs_replicas():
    values = {setting.key: setting.default for setting in SETTINGS} | {"durability": "replicated"}
    with pytest.raises(ConfigError, match="--durability replicated needs an external store"):
        manager_settings(values)
    assert manager_settings({**values, "store": FULL}).durability == "replicated"


def test_a_url_of_another_kind_is_unsupported():
    with pytest.raises(Unsupported, match="sentinel://"):
        connect("http://h:1/0", name="x")


A, B = ("a", 1), ("b", 1)


@pytest.mark.parametrize(
    ("answers", "elected", "asked"),
    [
        ([A, A, B], A, 2),
        ([A, B, B], B, 3),
        ([None, B, B], B, 3),
        ([None, None, B], B, 3),
        ([A, B, None], "do not agree", 3),
        ([None, None, None], "away; ", 3),
    ],
)
def test_the_primary_is_whom_most_sentinels_name(monkeypatch, answers, elected, asked):
    heard = []

    def ask(_, which):
        heard.append(which)
        answer = answers[which[1] - 1]
        if answer is None:
            raise redis.ConnectionError(f"{which[1]} is away")
        return answer

    monkeypatch.setattr(sentinel.Sentinels, "_ask", ask)
    sentinels = sentinel.Sentinels(sentinel_url("sentinel://h:1,h:2,h:3/f"))
    if isinstance(elected, str):
        with pytest.raises(redis.ConnectionError, match=elected):
            sentinels.primary()
    else:
        assert sentinels.primary() == elected
    assert len(heard) == asked
    heard.clear()
    if answers[0] is None and elected == B:
        assert sentinels.primary() == elected
        assert heard[0] != ("h", 1), "who did not answer is asked last"
