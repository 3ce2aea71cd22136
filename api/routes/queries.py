"""Query parameters that several listings share; what is unknown is refused."""

from typing import Annotated

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from api.clock import parse
from api.problems import Invalid
from store.readings import Span

LATEST_MS = 253_402_300_800_000  # the end of the year 9999

Moment = Annotated[
    str,
    Field(
        max_length=40,
        description="RFC 3339 with a zone, or epoch seconds or milliseconds",
        examples=["2026-11-22T12:00:00Z"],
    ),
]


class Fields(BaseModel):
    model_config = ConfigDict(extra="forbid")
    fields: Annotated[
        str | None,
        Field(max_length=500, description="Only these fields, comma-separated", examples=["device,tags"]),
    ] = None


class Cursored(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cursor: Annotated[str | None, Field(max_length=300, description="`next_cursor` of the page before")] = (
        None
    )


class Ranged(Cursored):
    """A span of time: `from` is inside it, `to` is not."""

    from_: Annotated[Moment | None, Field(alias="from")] = None
    to: Moment | None = None

    def span(self) -> Span:
        """Raises `Invalid`."""
        start = moment("from", self.from_) if self.from_ else 0
        end = moment("to", self.to) if self.to else LATEST_MS
        if start >= end:
            raise Invalid(f"from {self.from_!r} is not before to {self.to!r}", code="empty_range")
        return Span(start, end)


async def no_query(request: Request) -> None:
    """A dependency of routes without query parameters: one that is sent was meant for something."""
    if request.query_params:
        name = next(iter(request.query_params))
        raise Invalid(f"query.{name[:60]}: this call takes no query parameters")


NO_QUERY = [Depends(no_query)]


def moment(name: str, text: str) -> int:
    """Milliseconds since 1970; raises `Invalid` naming the parameter."""
    try:
        return parse(text)
    except ValueError as error:
        raise Invalid(f"{name}: {error}", code="bad_timestamp") from None
