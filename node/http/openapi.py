"""`/openapi.json` (OpenAPI 3.1.0), made from the route table and the shapes in `protocol/api`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from node.http.access import Scope
from node.http.routes import JSON, Route
from protocol.api.faults import ErrorReply

REFERENCE = "#/components/schemas/{name}"
_VARIABLE = re.compile(r"{(\w+)}")
_NOT_WORD = re.compile(r"\W+")


def describe(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document, as plain data."""
    shapes = [shape for route in routes for shape in (route.takes, route.gives) if shape not in (None, type(None), str)]
    _, components = msgspec.json.schema_components([*shapes, ErrorReply], ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "moot", "version": version, "summary": "Ask a swarm of local models; check what it answered."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "An API token, or the admin token."}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{_NOT_WORD.sub('_', route.path).strip('_') or 'index'}",
        "summary": route.summary,
        "parameters": [*_path_parameters(route.path), *(_query_parameters(route.takes) if route.method == "GET" else ())],
        "responses": {**_success(route), "default": _content("An error, in OpenAI's shape.", JSON, ErrorReply)},
    }
    if route.takes is not None and route.method != "GET":
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema(route.takes)}}}
    if route.scope is not Scope.OPEN:
        operation["security"] = [{"token": []}] if route.scope is Scope.ADMIN else [{}, {"token": []}]
    return operation


def _success(route: Route) -> dict[str, Any]:
    if route.gives is type(None):
        return {"204": {"description": "Done."}}
    return {"200": _content("Success.", route.media, route.gives)}


def _content(description: str, media: str, shape: Any) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": _schema(shape)}}}


def _path_parameters(path: str) -> Iterable[dict[str, Any]]:
    for name in _VARIABLE.findall(path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(shape: Any) -> Iterable[dict[str, Any]]:
    if shape is None:
        return
    (_,), components = msgspec.json.schema_components([shape], ref_template=REFERENCE)
    for name, schema in components[shape.__name__]["properties"].items():
        yield {"name": name, "in": "query", "required": False, "schema": schema}


def _schema(shape: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([shape], ref_template=REFERENCE)
    return schema
