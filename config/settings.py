"""Every setting of every process, typed, with its unit. `sluice config show` prints them.

Sources, strongest first: `SLUICE_{SECTION}_{FIELD}` variables, the TOML file (`--config`, or SLUICE_CONFIG),
the defaults below.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Owner(Section):
    """The first user, created once, where no user exists."""

    email: str = "owner@sluice.local"
    password: SecretStr | None = Field(None, description="made at random where unset")


class Mqtt(Section):
    """The broker as a client sees it."""

    host: str = "127.0.0.1"
    port: int = 1883
    version: Literal["3.1.1", "5"] = Field("5", description="MQTT version of our own clients")
    password: SecretStr = Field(SecretStr(""), description="password of the user `_service`")
    control_password: SecretStr = Field(SecretStr(""), description="password of the user `_control`")


class Broker(Section):
    """The broker that `sluice broker` runs."""

    kind: Literal["mosquitto", "amqtt"] = "mosquitto"
    host: str = Field("127.0.0.1", description="address both listeners bind to")
    port: int = 1883
    ws_port: int = 8083
    autosave_on_changes: bool = Field(
        False, description="Mosquitto only: every queued message on disk before its PUBACK; 75 times slower"
    )


class Mongo(Section):
    url: SecretStr = Field(SecretStr("mongodb://127.0.0.1:27017/?directConnection=true"))
    database: str = "sluice"
    timeout_s: float = Field(5.0, description="server selection and each operation")


class Redis(Section):
    url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"))
    timeout_s: float = Field(2.0, description="connect and each command")


class Http(Section):
    host: str = "127.0.0.1"
    port: int = 8000
    uplink_timeout_s: float = Field(10.0, description="how long a POST of readings waits for the commit")


class Auth(Section):
    key: SecretStr = Field(SecretStr(""), description="HS256 signing key, at least 32 bytes")
    access_ttl_s: int = 15 * 60
    refresh_ttl_s: int = 7 * 24 * 3600


class Ingest(Section):
    batch_size: int = Field(4000, gt=0, description="messages in one write")
    batch_age_s: float = Field(0.05, gt=0, description="oldest message's wait before a write")
    window: int = Field(20_000, gt=0, le=65_535, description="messages in memory before the socket rests")
    window_bytes: int = Field(64 * 2**20, gt=0, description="payload bytes in memory before the socket rests")
    spool_bytes: int = Field(2**30, gt=0, description="disk spool that stands in for an absent MongoDB")
    fanout_every_s: float = Field(0.25, gt=0, description="pace of latest values and live frames")
    seen_every_s: float = Field(10.0, gt=0, description="pace at which last seen reaches MongoDB")
    share: str | None = Field(
        None,
        description="group of a shared subscription (MQTT 5), for more than one ingest; "
        "Mosquitto 2.0 forgets shared subscriptions when it restarts",
    )
    health_port: int = Field(0, description="port of /healthz, /readyz, /metrics; 0 is any free one")


class Jobs(Section):
    silent_after_s: float = Field(24 * 3600, gt=0, description="observed silence that deactivates a device")
    offline_after_s: float = Field(600, gt=0, description="observed silence that takes a device offline")
    sweep_every_s: float = Field(60, gt=0, description="pace of the sweeps over silent devices")
    purge_after_s: float = Field(180, gt=0, description="age at which a deleted device's data goes again")
    health_port: int = Field(0, description="port of /healthz, /readyz, /metrics; 0 is any free one")


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "json"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="SLUICE_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        extra="forbid",
        frozen=True,
    )

    org: str = Field("demo", description="slug of the first organisation")
    data: Path = Field(Path(".sluice"), description="directory of all that a process keeps on disk")
    owner: Owner = Owner()
    mqtt: Mqtt = Mqtt()
    broker: Broker = Broker()
    mongo: Mongo = Mongo()
    redis: Redis = Redis()
    http: Http = Http()
    auth: Auth = Auth()
    ingest: Ingest = Ingest()
    jobs: Jobs = Jobs()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the signature is pydantic's)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def load(file: Path | None = None, **overrides: Any) -> Settings:
    """Settings from the environment over `file` (TOML) over the defaults; raises pydantic.ValidationError."""

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    return FromFile(**overrides)
