"""Chooses where alerts go: Slack if a webhook is set, else the log and a file, said once at start."""

from __future__ import annotations

from streamproc.config import Settings
from streamproc.logs import get_logger
from streamproc.notify.logfile import FileSender
from streamproc.notify.slack import SlackSender

_log = get_logger("alerts")


def alerts_file(settings: Settings) -> FileSender:
    """The local file: the receiver without Slack, and the fallback with it."""
    return FileSender(settings.data_dir / "alerts.log")


def make_sender(settings: Settings) -> SlackSender | FileSender:
    """The receiver of alerts.

    Raises:
        ConfigError: the webhook URL cannot be used.
    """
    secret = settings.slack_webhook_url
    url = secret.get_secret_value().strip() if secret else ""
    if url:
        _log.info("alerts go to Slack", fallback=str(alerts_file(settings).path))
        return SlackSender(url)
    file = alerts_file(settings)
    _log.warning(
        "no Slack webhook is set: alerts go to this log and to a file; set STREAMPROC_SLACK_WEBHOOK_URL for Slack",
        file=str(file.path),
    )
    return file
