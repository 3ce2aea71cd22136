"""The application: its features, one router each, behind one prefix."""

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from api import docs, openapi, problems
from api.middleware import Edge
from api.routes import auth, devices, event_log, health, live, telemetry, uplink
from api.services import Services

PREFIX = "/api/v1"
FEATURES: tuple[APIRouter, ...] = (
    auth.router,
    devices.router,
    uplink.router,
    telemetry.router,
    event_log.router,
    live.router,
)


def build(services: Services, version: str) -> FastAPI:
    app = FastAPI(
        title="Sluice",
        version=version,
        description="MQTT-first IoT ingestion that accounts for every message.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    for feature in FEATURES:
        app.include_router(feature, prefix=PREFIX)
    app.include_router(health.router)
    app.include_router(docs.router(f"{PREFIX}/openapi.json", app.title))
    _describe(app)
    problems.install(app)
    app.add_middleware(Edge, metrics=services.metrics)
    return app


def _describe(app: FastAPI) -> None:
    spec: dict[str, Any] = {}

    @app.get(f"{PREFIX}/openapi.json", include_in_schema=False)
    async def openapi_document() -> JSONResponse:
        """Made at the first request: most processes are never asked."""
        if not spec:
            spec.update(openapi.document(app, PREFIX))
        return JSONResponse(spec)
