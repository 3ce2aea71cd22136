"""Swagger UI at `/docs`, from files of our own host: many sites have no internet."""

from importlib.resources import as_file, files

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.responses import FileResponse, Response

from api.problems import NotFound

_PACKAGE = "fastapi_offline"  # carries Swagger UI's build; nothing else of it is used
_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)


def router(openapi_url: str, title: str) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def page() -> HTMLResponse:
        html = get_swagger_ui_html(
            openapi_url=openapi_url,
            title=title,
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="/docs/favicon.png",
        )
        html.headers["Content-Security-Policy"] = _POLICY
        return html

    @routes.get("/docs/{name}")
    async def asset(name: str) -> Response:
        if name not in _FILES:
            raise NotFound(f"no such path: /docs/{name}")
        with as_file(files(_PACKAGE) / "static" / name) as path:
            return FileResponse(path, headers={"Cache-Control": "max-age=86400"})

    return routes
