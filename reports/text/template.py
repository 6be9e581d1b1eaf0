"""The HTML templates beside this file."""

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def rendered(name: str, **values: Any) -> str:
    """Fill in a template; text is escaped unless it is Markup, and empty lines are dropped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return dense(environment.get_template(name).render(values)) + "\n"


def dense(text: str) -> str:
    """Without empty lines."""
    return "\n".join(line for line in text.split("\n") if line.strip())
