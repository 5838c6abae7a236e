"""The sweep file's language for editors and for readers: its JSON schema, and every field of it as Markdown.

    # yaml-language-server: $schema=sweep.schema.json      as the first line of a sweep file, after
    flare-ray schema > sweep.schema.json

Both are made from the fields' types, defaults and docstrings (plan/schema.py), so they cannot lag behind them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flare_ray.plan.extends import KEY as EXTENDS
from flare_ray.plan.schema import Sweep

_REF = "#/$defs/"


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a sweep file. A file that extends another may leave any field to it."""
    schema = Sweep.model_json_schema()
    sections = schema["$defs"]
    path = {"type": "string", "minLength": 1}
    several = {"type": "array", "items": path}
    extends = {
        "anyOf": [path, several],
        "description": "Sweep files whose fields this one takes over, by path from this file; later ones win over "
        "earlier ones, this file over all. Mappings are merged, all else is replaced.",
    }
    sections["ModelSpec"]["required"] = ["name"]  # the rest goes with a known name
    sections["Rule"]["properties"] |= {
        axis: {"anyOf": [values["anyOf"][0]["items"], values["anyOf"][0]]}
        for axis, values in sections["Axes"]["properties"].items()
    }
    schema["properties"] = {EXTENDS: extends, **schema["properties"]}
    needed = schema.pop("required")
    schema |= {"if": {"not": {"required": [EXTENDS]}}, "then": {"required": needed}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def markdown() -> str:
    """Every field: a table for each section, in the order in which the file comes to them."""
    schema = Sweep.model_json_schema()
    lines = []
    for name in _in_order(schema):
        section = schema if name == "Sweep" else schema["$defs"][name]
        needed = section.get("required", [])
        lines += [f"## {name}", "", *_paragraph(section.get("description", "")), ""]
        fields = {key: field for key, field in section["properties"].items() if "const" not in field}
        if fields:
            lines += ["| field | value | default | |", "|---|---|---|---|"]
        for key, field in fields.items():
            default = "needed" if key in needed else _default(field)
            lines.append(f"| `{key}` | {_kind(field)} | {default} | {_line(field.get('description', ''))} |")
        lines.append("" if fields else "No options.\n")
    return "\n".join(lines).rstrip() + "\n"


def _in_order(schema: Mapping[str, Any]) -> list[str]:
    """The file itself, then its sections as they are first named."""
    order = ["Sweep"]
    for name in order:  # grows as it goes
        section = schema if name == "Sweep" else schema["$defs"][name]
        order += [other for other in _named({**section, "$defs": {}}) if other not in order]
        order[:] = dict.fromkeys(order)
    return order


def _named(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if "$ref" in part:
            yield part["$ref"].removeprefix(_REF)
        for key, inner in part.items():
            if key != "discriminator":
                yield from _named(inner)
    if isinstance(part, list):
        for inner in part:
            yield from _named(inner)


def _kind(field: Mapping[str, Any]) -> str:
    """What a field takes, for people."""
    if "$ref" in field:
        name = field["$ref"].removeprefix(_REF)
        return f"[{name}](#{name.lower()})"
    if "enum" in field or "const" in field:
        return ", ".join(f"`{_yaml(value)}`" for value in field.get("enum", [field.get("const")]))
    if kinds := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(dict.fromkeys(_kind(kind) for kind in kinds if kind.get("type") != "null"))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}" if field.get("items") else "list"
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"mapping to {_kind(inner)}" if isinstance(inner, Mapping) else "mapping"
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    return words.get(field.get("type", ""), "any value") + _bounds(field)


def _bounds(field: Mapping[str, Any]) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    found = [
        f"{sign} {field[name]:g}"
        for name, sign in signs.items()
        if name in field and abs(field[name]) < 10**9
    ]
    return f" {', '.join(found)}" if found else ""


def _default(field: Mapping[str, Any]) -> str:
    """Empty for a section, whose own table has its defaults, and for what is left out."""
    value = field.get("default")
    return "" if value is None or "$ref" in field else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _paragraph(text: str) -> list[str]:
    return [_line(text)] if text else []
