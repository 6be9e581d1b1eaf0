"""CSV that a spreadsheet shows as text, whatever names a record or a user's file has."""

from __future__ import annotations

import re
from typing import Any

FORMULA = r"^[=+\-@\t\r]."  # what Excel, LibreOffice and Google Sheets take for a formula
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def as_text(value: Any) -> Any:
    """The value; a text that a spreadsheet would run as a formula has an apostrophe before it."""
    if isinstance(value, str) and re.match(FORMULA, value, re.S) and not re.match(NUMBER, value):
        return f"'{value}"
    return value


def table_as_text(table: Any) -> Any:
    """An Arrow table of which that is true, names of columns included."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    columns = list(table.columns)
    for k, column in enumerate(columns):
        if pa.types.is_string(column.type):
            formula = pc.and_not(
                pc.match_substring_regex(column, f"(?s){FORMULA}"),
                pc.match_substring_regex(column, NUMBER),
            )
            quoted = pc.binary_join_element_wise("'", column, "")
            columns[k] = pc.if_else(formula, quoted, column)
    return pa.table(columns, names=[as_text(name) for name in table.column_names])
