"""The interface's description as one page of HTML, complete in itself: it loads nothing."""

from __future__ import annotations

import json
from html import escape
from typing import Any, Final

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f4f4f6;padding:.8rem;overflow:auto}
h2{margin-top:2.5rem;border-bottom:1px solid #ddd}summary{cursor:pointer}
.m{display:inline-block;min-width:4.5rem;font-weight:600}td{padding:.1rem .8rem .1rem 0;
vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#16171a;color:#ddd}pre{background:#22242a}}
"""


def page(document: dict[str, Any]) -> str:
    """Return an OpenAPI document as HTML."""
    info, schemas = document["info"], document["components"]["schemas"]
    operations = "".join(
        _operation(method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    )
    described = "".join(_schema(name, schema) for name, schema in sorted(schemas.items()))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>"
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        f'<p><a href="openapi.json">openapi.json</a></p>'
        f"<h2>Operations</h2>{operations}<h2>Bodies and answers</h2>{described}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"<p>{escape(operation.get('description', ''))}</p>"]
    parameters = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{escape(p['in'])}"
        f"<td>{escape(p.get('description', ''))}"
        for p in operation.get("parameters", [])
    )
    if parameters:
        lines.append(f"<table>{parameters}</table>")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        lines.append(f"<p>Body: {_link(content['schema'])}</p>")
    answers = "".join(
        f"<tr><td><code>{status}</code><td>{escape(answer['description'])}<td>"
        + " ".join(_link(c.get("schema", {})) for c in answer.get("content", {}).values())
        for status, answer in sorted(operation["responses"].items())
    )
    lines.append(f"<table>{answers}</table>")
    return (
        f"<details><summary><span class=m>{method.upper()}</span> <code>{escape(path)}</code>"
        f"</summary>{''.join(lines)}</details>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    examples = schema.get("examples", [])
    first = str(schema.get("description", "")).partition("\n")[0]
    shown = {key: value for key, value in schema.items() if key not in ("examples", "title")}
    return (
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code> '
        f"{escape(first)}</summary>"
        + "".join(f"<pre>{escape(json.dumps(example, indent=1))}</pre>" for example in examples)
        + f"<pre>{escape(json.dumps(shown, indent=1))}</pre></details>"
    )


def _link(schema: dict[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return f'<a href="#{escape(name)}">{escape(name)}</a>' if name else ""
