"""Settings: environment variables with prefix STREAMPROC_, or a TOML file named by STREAMPROC_CONFIG."""

from __future__ import annotations

import os
from base64 import b64decode
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from schemas.topics import CHANGES, SOURCES
from streamproc.errors import ConfigError

Role = Literal["windows", "archive", "notify", "intake", "all"]


class Settings(BaseSettings):
    """Every setting, its default, and its bounds. Unknown names in the TOML file are refused."""

    model_config = SettingsConfigDict(env_prefix="STREAMPROC_", extra="forbid", frozen=True)

    broker_url: str = Field(
        "kafka://127.0.0.1:9092",
        description="Kafka bootstrap servers: kafka://host:port[;kafka://host2:port]",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis or Valkey: redis://[user:password@]host:port/db",
    )
    clickhouse_url: SecretStr = Field(
        SecretStr("http://127.0.0.1:8123"),
        description="ClickHouse HTTP interface: http[s]://[user:password@]host:port",
    )
    slack_webhook_url: SecretStr | None = Field(
        None, description="Slack incoming webhook; none: alerts go to the log and to DATA_DIR/alerts.log"
    )
    keys_url: SecretStr | None = Field(
        None,
        description="ClickHouse for the keys of personal data, another one than the warehouse's; none: CLICKHOUSE_URL",
    )
    master_key: SecretStr | None = Field(
        None, description="base64 of the 32 bytes that wrap the keys of personal data; none: MASTER_KEY_FILE"
    )
    master_key_file: Path | None = Field(
        None, description="file with the same, mode 0600; none: DATA_DIR/master.key, made at first use"
    )
    alert_rules: Path | None = Field(None, description="YAML file with alert rules; none: the shipped rules")
    data_dir: Path = Field(Path("data"), description="where the embedded stack and local files live")

    app_id: str = Field("streamproc", pattern=r"^[a-z][a-z0-9-]{0,40}$", description="prefix of the consumer groups")
    topic_prefix: str = Field(
        "", pattern=r"^[a-z0-9.-]{0,40}$", description="prefix of every topic (tests, shared clusters)"
    )
    redis_prefix: str = Field("sp:", pattern=r"^[A-Za-z0-9:_-]{1,20}$", description="prefix of every Redis key")
    partitions: int = Field(8, ge=1, le=1024, description="partitions of topics that streamproc creates")
    replication_factor: int = Field(1, ge=1, le=7, description="replicas of topics that streamproc creates")
    create_topics: bool = Field(True, description="create missing topics at start")

    flush_interval_s: float = Field(0.2, gt=0, le=5, description="stage 1 sends changed cells at the latest after this")
    emit_interval_s: float = Field(
        0.05, gt=0, le=5, description="stage 2 publishes changed windows at the latest after this"
    )
    snapshot_interval_s: float = Field(60.0, gt=0, le=3600, description="state is saved at the latest after this")
    idle_timeout_s: float = Field(
        60.0, ge=1, le=86_400, description="a source silent for this long does not hold windows open"
    )
    dedup_horizon_ms: int = Field(600_000, ge=0, le=86_400_000, description="duplicates are found within this log time")
    max_batch_records: int = Field(8192, ge=1, le=100_000, description="largest batch that an agent takes at once")
    dead_letter_limits: dict[str, float] = Field(
        default_factory=dict,
        description='share of bad records per topic above which it pauses, e.g. {"user-events": 0.9}',
    )
    flood_probe_s: float = Field(
        60.0, ge=0.1, le=3600, description="a topic paused because nearly everything is bad is probed this often"
    )
    session_timeout_s: float = Field(10.0, ge=1, le=300, description="Kafka consumer session timeout")
    stuck_after_s: float = Field(
        60.0, ge=5, le=3600, description="no progress with lag for this long: not live, and the process ends"
    )

    intake_streams: dict[str, str] = Field(
        default_factory=dict,
        description="Redis Streams that the role `intake` brings to topics, without TOPIC_PREFIX: "
        '{"sp:in:user-events": "user-events"}',
    )
    intake_redis_url: SecretStr | None = Field(
        None, description="Redis that holds those streams (6.2 or later); none: REDIS_URL"
    )
    intake_claim_after_s: float = Field(
        60.0, ge=1, le=86_400, description="an intake takes over what another one has held unacknowledged for this long"
    )

    scheduler_lease_s: float = Field(
        30.0,
        ge=1,
        le=600,
        description="a job whose scheduler died or was paused is taken over after this at the latest",
    )
    youtube_api_key: SecretStr | None = Field(
        None, description="Google API key for YouTube's public numbers; none: only the owners' tokens"
    )
    youtube_credentials_file: Path | None = Field(
        None, description="JSON file with OAuth client and the refresh token of each channel's owner (docs/youtube.md)"
    )
    youtube_credentials: SecretStr | None = Field(None, description="the same JSON itself, instead of the file")
    youtube_endpoint: str = Field(
        "", pattern=r"^(https?://.+/)?$", description="server that answers in Google's place (tests); none: Google"
    )
    youtube_daily_units: int = Field(
        10_000, ge=1, description="the project's quota of the YouTube Data API, units a Pacific day"
    )
    youtube_daily_queries: int = Field(
        100_000, ge=1, description="the project's quota of the YouTube Analytics API, queries a Pacific day"
    )
    youtube_backoff_s: float = Field(
        1.0, gt=0, le=60, description="first wait after a rate limit or server error of Google's; doubles, up to 60 s"
    )
    youtube_restated_limit: float = Field(
        0.2, gt=0, description="share by which a day older than a week may change before it is reported as an alert"
    )

    metrics_host: str = Field("127.0.0.1", description="address of the worker's /metrics, /live and /ready")
    metrics_port: int = Field(9464, ge=0, le=65_535, description="port of the worker's metrics; 0 picks a free one")
    log_format: Literal["console", "json"] = Field("console", description="how logs look")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is logged")

    @field_validator("broker_url")
    @classmethod
    def _broker_scheme(cls, value: str) -> str:
        if not all(part.startswith("kafka://") and len(part) > len("kafka://") for part in value.split(";")):
            raise ValueError("must look like kafka://host:port (several: separated by ';')")
        return value

    @field_validator("redis_url", "intake_redis_url", "clickhouse_url", "keys_url")
    @classmethod
    def _url_scheme(cls, value: SecretStr | None, info: Any) -> SecretStr | None:
        is_redis = info.field_name in ("redis_url", "intake_redis_url")
        allowed = ("redis://", "rediss://", "unix://") if is_redis else ("http://", "https://")
        if value is not None and not value.get_secret_value().startswith(allowed):
            raise ValueError(f"must start with one of {', '.join(allowed)}")
        return value

    @field_validator("master_key")
    @classmethod
    def _master_key(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            length = 32 if value is None else len(b64decode(value.get_secret_value(), validate=True))
        except ValueError:
            length = 0
        if length != 32:
            raise ValueError("must be the base64 of 32 bytes (head -c 32 /dev/urandom | base64)")
        return value

    @model_validator(mode="after")
    def _one_master_key(self) -> Settings:
        if self.master_key is not None and self.master_key_file is not None:
            raise ValueError(
                "STREAMPROC_MASTER_KEY and STREAMPROC_MASTER_KEY_FILE are both set; allowed is one of them"
            )
        return self

    @field_validator("dead_letter_limits")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        for topic, share in value.items():
            if not 0 < share <= 1:
                raise ValueError(f"the limit of {topic} is {share}; allowed: above 0 up to 1")
        return value

    @field_validator("intake_streams")
    @classmethod
    def _streams(cls, value: dict[str, str]) -> dict[str, str]:
        allowed = (*SOURCES, *CHANGES)
        for stream, topic in value.items():
            if not stream:
                raise ValueError("the name of a stream is empty; allowed is any other text")
            if topic not in allowed:
                raise ValueError(f"the topic of {stream} is {topic!r}; allowed: {', '.join(allowed)}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        path = os.environ.get("STREAMPROC_CONFIG")
        if path:
            sources.append(TomlConfigSettingsSource(settings_cls, Path(path)))
        return tuple(sources)

    def topic(self, name: str) -> str:
        """The name of a contract topic on this broker."""
        return self.topic_prefix + name

    @property
    def bootstrap_servers(self) -> list[str]:
        """host:port of each broker, as Kafka clients want them."""
        return [part.removeprefix("kafka://") for part in self.broker_url.split(";")]


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (from the command line) win.

    Raises:
        ConfigError: names every bad field, its value and what is allowed; secrets are not shown.
    """
    path = os.environ.get("STREAMPROC_CONFIG")
    if path and not Path(path).is_file():
        raise ConfigError(f"STREAMPROC_CONFIG names {path!r}, which is no file")
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    except SettingsError as error:
        # A variable that holds JSON; its message names the field, and the cause what is wrong with the text.
        raise ConfigError(f"the configuration is not usable: {error}: {error.__cause__}") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, numbers of thousands of digits, endless nesting
        raise ConfigError(f"STREAMPROC_CONFIG names {path!r}, which cannot be read as TOML: {error}") from None


def _explain(error: ValidationError) -> str:
    lines = ["the configuration is not usable:"]
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "settings"
        secret = "url" in name or name in ("master_key", "youtube_api_key", "youtube_credentials", "settings")
        shown = "(not shown)" if secret else repr(item.get("input"))
        lines.append(f"  STREAMPROC_{name.upper()} = {shown}: {item['msg']}")
    return "\n".join(lines)
