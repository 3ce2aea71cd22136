"""JSON answers, encoded by msgspec: several times faster than going through models for rows of readings."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from store.devices import Device


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def etag(device: Device) -> dict[str, str]:
    """For If-Match. No If-None-Match: presence and last seen change without a new version."""
    return {"ETag": f'"{device.version}"'}
