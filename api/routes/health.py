"""For supervisors, load balancers and Prometheus: no prefix, no log-in."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api.answers import answer
from api.services import Using

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def live() -> Response:
    """This process answers; its dependencies do not matter."""
    return answer({"status": "alive"})


@router.get("/readyz")
async def ready(services: Using) -> Response:
    report = await services.health.report()
    status = "ready" if report.is_ready else "unready"
    return answer({"status": status, "checks": report.checks}, 200 if report.is_ready else 503)


@router.get("/metrics")
async def metrics(services: Using) -> Response:
    return Response(services.metrics.render(), media_type=CONTENT_TYPE_LATEST)
