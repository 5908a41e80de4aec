"""The page's templates, style and script, and the one function that fills them in: everything is escaped."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = Markup((HERE / "style.css").read_text(encoding="utf-8"))
    environment.globals["script"] = Markup((HERE / "script.js").read_text(encoding="utf-8"))
    environment.globals["version"] = version("truefit")
    return environment


def render(template: str, **values: Any) -> str:
    """A template filled in; a value that the template wants and does not get is an error."""
    return _environment().get_template(template).render(**values)
