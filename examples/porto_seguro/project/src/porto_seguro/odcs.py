"""How a contract stands in an Open Data Contract Standard v3 document.

See https://bitol-io.github.io/open-data-contract-standard. What the standard has no word for (role, task, synthesis)
stands in its `customProperties`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import Column, Contract

# The standard writes date formats as Java does; Python and Polars have strptime codes.
_FORMAT_CODES = (
    ("yyyy", "%Y"), ("yy", "%y"), ("MMM", "%b"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("hh", "%I"), ("mm", "%M"),
    ("ss", "%S"), (".SSS", "%.f"), ("XXX", "%z"), ("a", "%p"),
)  # fmt: skip


def _format(text: str, to_odcs: bool) -> str:
    for odcs, code in _FORMAT_CODES:
        text = text.replace(code, odcs) if to_odcs else text.replace(odcs, code)
    return text


def _plain(number: float | None) -> float | None:
    """A number as a person would write it: 1, not 1.0."""
    return int(number) if number is not None and number == int(number) else number


def _properties(element: dict[str, Any]) -> dict[str, Any]:
    return {p["property"]: p["value"] for p in element.get("customProperties", [])}


def _custom(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"property": key, "value": value} for key, value in values.items() if value not in ("", [], {}, None)]


def to_odcs(contract: "Contract") -> dict[str, Any]:
    """Return a contract as an ODCS document."""
    table: dict[str, Any] = {
        "name": "rows",
        "logicalType": "object",
        "physicalType": "table",
        "customProperties": _custom(
            {
                "task": contract.task,
                "classes": contract.classes,
                "decimal": contract.decimal,
                "sources": contract.sources,
                "synthesis": contract.synthesis,
            }
        )
        + ([] if contract.header else [{"property": "header", "value": False}]),
        "properties": [_column_to_odcs(column) for column in contract.columns],
    }
    if contract.rules:
        table["quality"] = [
            {"name": r.name, "type": "custom", "engine": "sql", "implementation": r.sql} for r in contract.rules
        ]
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": contract.name,
        "name": contract.name,
        "version": contract.version,
        "status": "active",
        **({"description": {"purpose": contract.description}} if contract.description else {}),
        "schema": [table],
    }


def _column_to_odcs(column: "Column") -> dict[str, Any]:
    out: dict[str, Any] = {"name": column.name, "logicalType": column.type}
    if column.note:
        out["description"] = column.note
    out |= {key: True for key in ("required", "unique") if getattr(column, key)}
    options = {
        "minimum": _plain(column.minimum),
        "maximum": _plain(column.maximum),
        "format": _format(column.format, to_odcs=True) or None,
    }
    if options := {key: value for key, value in options.items() if value is not None}:
        out["logicalTypeOptions"] = options
    quality = []
    if column.sentinels or column.missing is not None:
        arguments: dict[str, Any] = {"missingValues": [_plain(s) for s in column.sentinels]} if column.sentinels else {}
        quality.append(_at_most("missingValues", arguments, 100.0 if column.missing is None else column.missing))
    if column.categories:
        quality.append(_at_most("invalidValues", {"validValues": column.categories}, column.tolerance))
    if quality:
        out["quality"] = quality
    custom = _custom({"role": "" if column.role == "feature" else column.role, "synthesis": column.synthesis})
    return out | ({"customProperties": custom} if custom else {})


def _at_most(metric: str, arguments: dict[str, Any], percent: float) -> dict[str, Any]:
    limit = {"mustBeLessOrEqualTo": _plain(percent), "unit": "percent"}
    return {"metric": metric, **({"arguments": arguments} if arguments else {}), **limit}


def from_odcs(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Contract` from an ODCS document; what it lacks raises KeyError, TypeError or the like."""
    table = document["schema"][0]
    return {
        "name": document.get("name", document["id"]),
        "version": document["version"],
        "description": document.get("description", {}).get("purpose", ""),
        "columns": [_column_from_odcs(column) for column in table["properties"]],
        "rules": [
            {"name": rule["name"], "sql": rule["implementation"]}
            for rule in table.get("quality", [])
            if rule.get("engine") == "sql"
        ],
        **{
            k: v
            for k, v in _properties(table).items()
            if k in ("task", "classes", "header", "decimal", "sources", "synthesis")
        },
    }


def _column_from_odcs(column: dict[str, Any]) -> dict[str, Any]:
    out = {"name": str(column["name"]), "type": column["logicalType"], "note": column.get("description", "")}
    out |= {key: column[key] for key in ("required", "unique") if key in column}
    options = column.get("logicalTypeOptions", {})
    out |= {k: v for k, v in options.items() if k in ("minimum", "maximum")} | {
        "format": _format(options.get("format", ""), to_odcs=False)
    }
    for rule in column.get("quality", []):
        if rule.get("metric") == "missingValues":
            out |= {
                "sentinels": rule.get("arguments", {}).get("missingValues", []),
                "missing": rule["mustBeLessOrEqualTo"],
            }
        elif rule.get("metric") == "invalidValues":
            out |= {"categories": rule["arguments"]["validValues"], "tolerance": rule["mustBeLessOrEqualTo"]}
    return out | {k: v for k, v in _properties(column).items() if k in ("role", "synthesis")}
