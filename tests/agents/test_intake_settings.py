"""What the intake refuses before it starts, and when it is one of all roles."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streamproc.agents.intake_role import consumer_name
from streamproc.app import roles_of
from streamproc.config import Settings, load_settings
from streamproc.errors import ConfigError


@pytest.mark.parametrize("topic", ["user-events", "billing-events", "cdc.app.users"])
def test_topics_of_events_and_changes_are_allowed(monkeypatch: pytest.MonkeyPatch, topic: str) -> None:
    monkeypatch.setenv("STREAMPROC_INTAKE_STREAMS", f'{{"my stream": "{topic}"}}')
    monkeypatch.setenv("STREAMPROC_INTAKE_REDIS_URL", "rediss://user:secret@other:6379/1")
    settings = load_settings()
    assert settings.intake_streams == {"my stream": topic}
    assert roles_of(settings) == ("windows", "archive", "notify", "intake")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "INTAKE_STREAMS",
            '{"s": "dead-letters"}',
            "the topic of s is 'dead-letters'; allowed: user-events, video-status,",
        ),
        ("INTAKE_STREAMS", '{"s": "x.user-events"}', "the topic of s is 'x.user-events'"),
        ("INTAKE_STREAMS", '{"": "user-events"}', "the name of a stream is empty"),
        ("INTAKE_STREAMS", '{"s": 3}', "valid string"),
        ("INTAKE_STREAMS", "user-events", "intake_streams"),
        ("INTAKE_REDIS_URL", "http://user:secret@other", "must start with one of redis://"),
        ("INTAKE_CLAIM_AFTER_S", "0", "greater than or equal to 1"),
    ],
)
def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str) -> None:
    monkeypatch.setenv(f"STREAMPROC_{name}", text)
    monkeypatch.setenv("STREAMPROC_TOPIC_PREFIX", "x.")
    with pytest.raises(ConfigError) as error:
        load_settings()
    assert said in str(error.value)
    assert name.lower() in str(error.value).lower()
    assert "secret" not in str(error.value)


def test_without_streams_it_says_what_to_set() -> None:
    """Exit code 2, before anything is connected; `--role all` goes on without it."""
    done = subprocess.run(
        [sys.executable, "-m", "streamproc.cli.main", "worker", "--role", "intake", "--metrics-port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "STREAMPROC_INTAKE_STREAMS = {}" in done.stderr
    assert '{"sp:in:user-events": "user-events"}' in done.stderr
    assert roles_of(Settings()) == ("windows", "archive", "notify")


def test_a_worker_in_the_place_of_another_has_its_name() -> None:
    """Host and port; with a port picked freely none is anybody's."""
    assert consumer_name(Settings(metrics_port=9467)) == consumer_name(Settings(metrics_port=9467))
    assert consumer_name(Settings(metrics_port=9467)) != consumer_name(Settings(metrics_port=9468))
    assert consumer_name(Settings(metrics_port=0)) != consumer_name(Settings(metrics_port=0))
