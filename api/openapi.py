"""The OpenAPI document: what FastAPI derives from the routes, with our errors and our permission table."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.access import TABLE, Access
from api.problems import MEDIA_TYPE

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "Names the value and the limit"},
        "code": {"type": "string", "description": "For programs"},
        "instance": {"type": "string"},
        "request_id": {"type": ["string", "null"], "description": "Also in X-Request-Id"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"at": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
    "example": {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "body.device: string should match pattern '^[a-z0-9][a-z0-9-]{0,62}$' (got 'Boiler 1')",
        "code": "invalid",
        "instance": "/api/v1/devices",
        "request_id": "5f1d7a3c9b2e4d60",
        "errors": [
            {
                "at": "body.device",
                "detail": "string should match pattern '^[a-z0-9][a-z0-9-]{0,62}$' (got 'Boiler 1')",
            }
        ],
    },
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "device": {"type": "http", "scheme": "basic", "description": "`org/device` and its secret"},
    "query_token": {"type": "apiKey", "in": "query", "name": "access_token"},
}
_ERROR = {
    "description": "Problem (RFC 9457)",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def document(app: FastAPI, prefix: str) -> dict[str, Any]:
    spec = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = spec.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = _SCHEMES
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            _describe(operation, TABLE[f"{method.upper()} {path.removeprefix(prefix)}"])
    return spec


def _describe(operation: dict[str, Any], access: Access) -> None:
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = _ERROR
    if access.role is None:
        return
    operation["description"] = f"{operation.get('description', '')}\n\nRole: {access.role}.".strip()
    schemes = [
        "bearer",
        *(["device"] if access.device else []),
        *(["query_token"] if access.in_query else []),
    ]
    operation["security"] = [{scheme: []} for scheme in schemes]
