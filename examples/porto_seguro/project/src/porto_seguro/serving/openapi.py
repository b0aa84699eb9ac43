"""The service's description for programs (OpenAPI 3.1) and people (one page), made from the contract."""

import html
from typing import Any

import msgspec

from ..contract import Column, Contract

_JSON = {"integer": "integer", "number": "number", "boolean": "boolean"}
SHAPES = ("objects", "lists", "input_data")
PROBLEM = "#/components/schemas/Problem"
REFUSED = {
    "400": "Not JSON.", "401": "No token, or a wrong one.", "404": "There is no deployment of that name.",
    "408": "The body came too slowly.", "413": "Too many rows or bytes.", "415": "Not application/json.",
    "422": "Against the contract; errors says where.", "429": "Too many requests at once; see Retry-After.",
    "500": "A fault.", "503": "No deployment answers; see Retry-After.", "504": "The deployment takes too long.",
}  # fmt: skip


def _cell(column: Column) -> dict[str, Any]:
    kind = _JSON.get(column.type, "string")
    told: dict[str, Any] = {"type": kind if column.required else [kind, "null"]}
    if column.type == "date" and not column.format:
        told["format"] = "date"
    number = int if column.type == "integer" else float
    if column.minimum is not None:
        told["minimum"] = number(min([column.minimum, *column.sentinels]))
    if column.maximum is not None:
        told["maximum"] = number(max([column.maximum, *column.sentinels]))
    notes = []
    if column.categories:
        shown = ", ".join(map(str, column.categories[:20])) + (", ..." if len(column.categories) > 20 else "")
        notes.append(f"Known values: {shown}. Others are scored as missing.")
    if column.sentinels:
        notes.append(f"Missing is also written as {', '.join(f'{s:g}' for s in column.sentinels)}.")
    if column.note:
        notes.append(column.note)
    return told | ({"description": " ".join(notes)} if notes else {})


def _example(column: Column) -> Any:
    if column.categories:
        return column.categories[0]
    if column.type in ("integer", "number"):
        low = column.minimum if column.minimum is not None else 0
        high = column.maximum if column.maximum is not None else max(low, 1)
        middle = (low + high) / 2
        return int(middle) if column.type == "integer" else round(middle, 3)
    return {"boolean": True, "date": "2026-01-31", "timestamp": "2026-01-31 12:00:00"}.get(column.type)


def document(contract: Contract, version: str, api: str, secured: bool) -> dict[str, Any]:
    """Return the OpenAPI document of the service that scores with this contract.

    Args:
        contract: what a row looks like.
        version: of the model.
        api: version of the API.
        secured: whether a token is asked for.
    """
    columns = contract.of("feature")
    names = [c.name for c in columns]
    row = {c.name: _example(c) for c in columns}
    ids = {"type": "array", "items": {"type": ["string", "integer"]}, "description": "A name for each row."}
    keys = {c.name: {"description": "Comes back as the row's id."} for c in contract.of("identifier")}
    objects = {
        "type": "object", "required": ["data"], "additionalProperties": False,
        "properties": {
            "data": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Row"}}, "ids": ids,
        },
    }  # fmt: skip
    lists = {
        "type": "object", "required": ["data"], "additionalProperties": False,
        "properties": {
            "data": {
                "type": "array", "minItems": 1,
                "items": {
                    "type": "array", "minItems": len(names), "maxItems": len(names),
                    "prefixItems": [_cell(c) | {"title": c.name} for c in columns],
                },
            },
            "ids": ids,
        },
    }  # fmt: skip
    split = {
        "type": "object", "required": ["input_data"], "additionalProperties": False,
        "properties": {
            "input_data": {
                "type": "object", "required": ["columns", "data"], "additionalProperties": False,
                "properties": {
                    "columns": {"type": "array", "const": names},
                    "index": {"type": "array"},
                    "data": {"type": "array", "minItems": 1, "items": lists["properties"]["data"]["items"]},  # type: ignore[index]
                },
            },
            "ids": ids,
        },
    }  # fmt: skip
    examples = {
        "objects": {"value": {"data": [row]}},
        "lists": {"value": {"data": [list(row.values())]}},
        "input_data": {"value": {"input_data": {"columns": names, "index": [0], "data": [list(row.values())]}}},
    }
    number = {"type": "number"}
    one = number if contract.task != "multiclass" else {"type": "array", "items": number}
    what = {
        "binary": f"the probability that {contract.target.name} is {contract.classes[-1:]}",
        "multiclass": "the probability of each class",
        "regression": f"the predicted {contract.target.name}",
    }[contract.task]
    answer = {
        "type": "object",
        "required": ["result", "ids", "model_version", "deployment", "request_id"],
        "properties": {
            "result": {"type": "array", "items": one, "description": f"For each row, {what}."},
            "classes": {"type": "array", "description": "Their order in `result`, where there are several."},
            "ids": {"type": "array", "items": {"type": "string"}},
            "model_version": {"type": "string"}, "deployment": {"type": "string"}, "request_id": {"type": "string"},
            "explanation": {"type": "object", "description": "What each feature adds to the raw score (log-odds)."},
        },
    }  # fmt: skip
    problem = {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
            "detail": {"type": "string"}, "request_id": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "row": {"type": "integer", "description": "Counted from 0."},
                        "column": {"type": "string"}, "rule": {"type": "string"}, "value": {"type": "string"},
                    },
                },
            },
        },
    }  # fmt: skip

    refused = {
        code: {"description": text, "content": {"application/problem+json": {"schema": {"$ref": PROBLEM}}}}
        for code, text in REFUSED.items()
    }

    def told(text: str, media: str = "text/plain") -> dict[str, Any]:
        return {"responses": {"200": {"description": text, "content": {media: {}}}}}

    explain = {
        "name": "explain", "in": "query", "schema": {"type": "boolean", "default": False},
        "description": "Also say what each feature adds.",
    }  # fmt: skip
    addressed = {
        "name": "azureml-model-deployment", "in": "header", "schema": {"type": "string"},
        "description": "The deployment that shall answer; without it, the endpoint's traffic decides.",
    }  # fmt: skip
    paths: dict[str, Any] = {
        "/score": {"post": {
            "operationId": "score", "summary": "Score rows", "parameters": [explain, addressed],
            "requestBody": {"required": True, "content": {"application/json": {
                "schema": {"oneOf": [{"$ref": f"#/components/schemas/{s}"} for s in SHAPES]}, "examples": examples,
            }}},
            "responses": {"200": {
                "description": "A score for each row, in order.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}},
            }} | refused,
        }},
        "/livez": {"get": told("The process runs.")},
        "/readyz": {"get": told("The model is loaded.")},
        "/metrics": {"get": told("Prometheus metrics.")},
        "/model": {"get": told("Version, digest and lineage of the model.", "application/json")},
    }  # fmt: skip
    shapes = {"objects": objects, "lists": lists, "input_data": split}
    schema_row = {
        "type": "object", "required": names, "properties": {c.name: _cell(c) for c in columns} | keys,
    }  # fmt: skip
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"{contract.name}: scores",
            "version": api,
            "description": f"{contract.description or contract.name}\n\nModel version {version}.",
        },
        "paths": paths,
        "components": {"schemas": shapes | {"Row": schema_row, "Answer": answer, "Problem": problem}},
    }
    if secured:
        found["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "api-key"},
        }
        for operation in (paths["/score"]["post"], paths["/model"]["get"]):
            operation["security"] = [{"bearer": []}, {"key": []}]
            operation["responses"]["401"] = refused["401"]
    return found


def page(spec: dict[str, Any]) -> str:
    """Return the description as one HTML page with a form to try it; nothing is fetched from elsewhere."""
    properties = spec["components"]["schemas"]["Row"]["properties"]
    lines = []
    for name, cell in properties.items():
        kind = cell.get("type", "")
        kind = " or ".join(kind) if isinstance(kind, list) else kind
        span = " to ".join(str(cell[k]) for k in ("minimum", "maximum") if k in cell)
        texts = map(html.escape, (name, kind, span, cell.get("description", "")))
        lines.append("<tr>" + "".join(f"<td>{text}</td>" for text in texts) + "</tr>")
    post = spec["paths"]["/score"]["post"]
    example = msgspec.json.format(
        msgspec.json.encode(post["requestBody"]["content"]["application/json"]["examples"]["objects"]["value"])
    ).decode()
    answers = "".join(
        f"<tr><td>{code}</td><td>{html.escape(r['description'])}</td></tr>" for code, r in post["responses"].items()
    )
    parts = {
        "TITLE": html.escape(spec["info"]["title"]),
        "ABOUT": html.escape(spec["info"]["description"]),
        "ROWS": "".join(lines),
        "ANSWERS": answers,
        "EXAMPLE": html.escape(example),
        "TOKEN": '<label>token <input id="token" type="password"></label>' if "security" in post else "",
    }
    text = PAGE
    for key, value in parts.items():
        text = text.replace(f"%{key}%", value)
    return text


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>%TITLE%</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 960px; margin: 24px auto; padding: 0 16px; color: #1f2328 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: 4px 8px; border-bottom: 1px solid #d0d7de }
textarea { width: 100%; height: 16em; font: 13px/1.4 monospace } pre { background: #f6f8fa; padding: 12px; white-space: pre-wrap }
button { font: inherit; padding: 4px 16px; margin: 8px 0 } p { white-space: pre-line }
</style><h1>%TITLE%</h1><p>%ABOUT%</p>
<p>For programs: <a href="openapi.json">openapi.json</a>. Also: <a href="model">model</a>, <a href="metrics">metrics</a>.</p>
<h2>Try it: POST /score</h2><textarea id="body">%EXAMPLE%</textarea>
<label><input type="checkbox" id="why"> explain</label> %TOKEN% <button id="send">Send</button><pre id="answer"></pre>
<h2>Answers</h2><table><tr><th>status</th><th>meaning</th></tr>%ANSWERS%</table>
<h2>A row</h2><table><tr><th>column</th><th>type</th><th>range</th><th></th></tr>%ROWS%</table><script>
document.getElementById("send").onclick = async () => {
  const why = document.getElementById("why").checked ? "?explain=true" : "";
  const headers = { "Content-Type": "application/json", "api-key": document.getElementById("token")?.value ?? "" };
  const init = { method: "POST", headers, body: document.getElementById("body").value };
  const answer = await fetch("score" + why, init);
  document.getElementById("answer").textContent = answer.status + " " + JSON.stringify(await answer.json(), null, 2);
};
</script></html>"""
