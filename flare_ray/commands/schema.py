"""`flare-ray schema`: the sweep file's JSON schema for editors, or every field of it as Markdown.

flare-ray schema > sweep.schema.json
flare-ray schema --markdown
"""

from __future__ import annotations

import json
from typing import Annotated

import typer


def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Every field, for readers.")] = False,
) -> None:
    """Prints the sweep file's JSON schema, for editors."""
    from flare_ray.plan import reference

    text = (
        reference.markdown()
        if markdown
        else json.dumps(reference.json_schema(), indent=1, ensure_ascii=False)
    )
    print(text.rstrip("\n"))
