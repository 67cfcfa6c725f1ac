"""OpenAPI from the table of routes and the registry of specs, and a page that shows it without outside addresses."""

from collections.abc import Sequence
from typing import Any

from trogdor import __version__
from trogdor.http.app import Endpoint
from trogdor.http.message import Request, Response

ERROR = {"type": "object", "properties": {"code": {"type": "integer"}, "message": {"type": "string"}}}


def with_docs(title: str, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The endpoints, and ``/openapi.json`` and ``/docs`` that describe them."""

    async def openapi(request: Request, body: None) -> Any:
        return document(title, endpoints)

    async def docs(request: Request, body: None) -> Response:
        return Response(PAGE.replace("{title}", title), media_type="text/html")

    return [
        *endpoints,
        Endpoint("GET", "/openapi.json", openapi, "This description, as OpenAPI 3.1."),
        Endpoint("GET", "/docs", docs, "This description, as a page."),
    ]


def document(title: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a daemon."""
    from pydantic.json_schema import models_json_schema

    from trogdor.spec import REGISTRY

    specs = list(REGISTRY)
    messages = {endpoint.body for endpoint in endpoints if endpoint.body is not None}
    models = [*specs, *sorted(messages, key=lambda model: model.__name__)]
    template = "#/components/schemas/{model}"
    names, definitions = models_json_schema([(model, "validation") for model in models], ref_template=template)
    schemas = definitions.get("$defs", {})
    by_model = {model: reference["$ref"].rpartition("/")[2] for (model, _), reference in names.items()}
    for spec in specs:
        schema = schemas[by_model[spec]]
        schema["properties"] = {"class": {"const": spec.class_name}, **schema.get("properties", {})}
        schema["required"] = ["class", *schema.get("required", [])]
    schemas["Spec"] = {
        "oneOf": [{"$ref": template.format(model=by_model[spec])} for spec in specs],
        "discriminator": {"propertyName": "class"},
    }
    schemas["Error"] = ERROR
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        body = None if endpoint.body is None else template.format(model=by_model[endpoint.body])
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, body)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(endpoint: Endpoint, body: str | None) -> dict[str, Any]:
    in_path = [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path] + [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in (endpoint.query or {}).items()
    ]
    error = {
        "description": "Refused.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "responses": {"200": {"description": "Done."}, "default": error},
    }
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"$ref": body}}}}
    return operation


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
details{border:1px solid #ccc;border-radius:6px;margin:.4rem 0;padding:.3rem .8rem}
summary{cursor:pointer}code,pre{font:14px ui-monospace,monospace}pre{overflow:auto;background:#f5f5f5;padding:.6rem}
b{display:inline-block;min-width:4.5rem}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre{background:#262626}details{border-color:#444}}
</style>
<h1>{title}</h1><p>As JSON: <a href="/openapi.json">/openapi.json</a></p>
<h2>Routes</h2><div id="routes"></div><h2>Bodies</h2><div id="schemas"></div>
<script>
const row = (head, text, value) => {
  const box = document.createElement('details'), line = document.createElement('summary')
  for (const [tag, part] of [['b', head[0]], ['code', head[1]], ['span', ' ' + text]]) {
    const piece = document.createElement(tag); piece.textContent = part; line.append(piece, ' ')
  }
  const body = document.createElement('pre'); body.textContent = JSON.stringify(value, null, 2)
  box.append(line, body); return box
}
fetch('/openapi.json').then(answer => answer.json()).then(doc => {
  for (const [path, methods] of Object.entries(doc.paths))
    for (const [method, operation] of Object.entries(methods))
      document.getElementById('routes').append(row([method.toUpperCase(), path], operation.summary, operation))
  for (const [name, schema] of Object.entries(doc.components.schemas))
    document.getElementById('schemas').append(row(['', name], schema.description ?? '', schema))
})
</script></html>
"""
