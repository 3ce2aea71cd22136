"""Everything that the routes work with, built once by the composition root and passed in."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from api.announcer import Announcer
from api.fanout import Fanout
from api.health import Health
from api.metrics import Metrics
from api.passwords import Passwords
from api.tokens import AccessTokens
from api.uplinks import Uplinks
from broker.gate import Gate
from store.audit import Audit
from store.devices import Devices
from store.event_log import EventLog
from store.latest import Latest
from store.live import Live
from store.purge import Purge
from store.readings import Series
from store.tokens import RefreshTokens
from store.traces import Traces
from store.users import Users


@dataclass(frozen=True, slots=True)
class Services:
    users: Users
    devices: Devices
    telemetry: Series
    heartbeats: Series
    event_log: EventLog
    latest: Latest
    audit: Audit
    purge: Purge
    traces: Traces
    live: Live
    gate: Gate
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    passwords: Passwords
    announcer: Announcer
    uplinks: Uplinks
    fanout: Fanout
    health: Health
    metrics: Metrics


def services_of(request: Request) -> Services:
    return cast("Services", request.app.state.services)


Using = Annotated[Services, Depends(services_of)]
