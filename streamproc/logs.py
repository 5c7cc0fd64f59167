"""Structured logs: one line an event, for people (console) or machines (JSON); never payloads, secrets or personal data."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog

from streamproc.log_repeats import RepeatFilter

_URL_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_WEBHOOK = re.compile(r"hooks\.slack\.com/services/\S+")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")


def redact(text: str) -> str:
    """Take credentials in URLs, Slack webhook paths and e-mail addresses out of a text."""
    text = _URL_CREDENTIALS.sub("***@", text)
    text = _WEBHOOK.sub("hooks.slack.com/services/***", text)
    return _EMAIL.sub("***@***", text)


def _redact_event(_logger: Any, _name: str, event: Any) -> Any:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value).replace("\r", " ")
    return event


def setup_logs(form: str = "console", level: str = "info") -> None:
    """Send structlog and the standard library's logs (Faust, aiokafka) to standard error in one form."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        foreign_pre_chain=shared,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "faust", "mode", "kafka", "googleapiclient", "google", "google_auth_httplib2"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> Any:
    """A structlog logger bound to a component name."""
    return structlog.get_logger(component=name)
