"""Tables in spreadsheets: .xlsx and .ods."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from dnabench.tasks.io.bounds import MOST_TEXT, MOST_TIMES, RAISE, raised
from dnabench.tasks.io.parsing import table_of_rows
from dnabench.tasks.io.table import Table, check_table
from dnabench.types import OwnData

SUFFIXES = (".xlsx", ".ods")
BOOK, LINKS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"  # of an .xlsx


def is_sheet(path: Path) -> bool:
    """Whether the extension is that of a spreadsheet."""
    return path.suffix.lower() in SUFFIXES


def sheet_table(path: Path, own: OwnData) -> Table:
    """A sheet whose first row is a header, as in a CSV file.

    Args:
        path: of the spreadsheet.
        own: the name of the sheet, needed where there are several; its columns.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: python-calamine is not installed.
        ValueError: the file cannot be read, or has no such sheet.
    """
    try:
        from python_calamine import load_workbook
    except ImportError as e:
        raise ImportError(
            f"{path}: spreadsheets need one more package: pip install '.[sheets]'"
        ) from e
    raw = path.read_bytes()
    _check_unpacked(path, raw)
    try:
        book = load_workbook(io.BytesIO(raw))
        names = book.sheet_names
        if own.sheet and own.sheet not in names:
            raise ValueError(f"no sheet {own.sheet!r}; there are {', '.join(names)}")
        if len(names) > 1 and not own.sheet:
            raise ValueError(
                f"{len(names)} sheets; say which: --sheet {names[0]!r} ({', '.join(names)})"
            )
        values = book.get_sheet_by_name(own.sheet or names[0]).to_python(skip_empty_area=False)
        never = never_computed(raw, own.sheet or names[0])
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as e:  # a damaged file can make the reader panic, which is no Exception
        raise ValueError(f"{path}: {e}") from e
    if never:
        n = f"it and {len(never) - 1:,} more are" if len(never) > 1 else "it is"
        raise ValueError(
            f"{path}: cell {never[0]} holds a formula that was never computed: {n} empty to all "
            "who read the file; open it in a spreadsheet program and save it there, or write values"
        )
    rows = [(i, [_text(value) for value in row]) for i, row in enumerate(values, start=1)]
    table = table_of_rows(path, [row for row in rows if any(row[1])], own, "row ")
    check_table(table)
    return Table(**{**vars(table), "sha256": hashlib.sha256(raw).hexdigest()})


def never_computed(raw: bytes, sheet: str) -> list[str]:
    """Cells of a sheet of an .xlsx, such as B3, with a formula and without its value.

    Programs that only write files, as openpyxl, store formulas alone; a spreadsheet program adds
    what they give, an empty text (type "str") too.

    Source: ECMA-376, part 1, 18.3.1.4 (c), 18.3.1.40 (f) and 18.3.1.96 (v).
    """
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        if not {BOOK, LINKS} <= {*file.namelist()}:  # as of an .ods
            return []
        links = {r.get("Id"): r.get("Target", "") for r in ElementTree.fromstring(file.read(LINKS))}
        sheets = ElementTree.fromstring(file.read(BOOK)).iterfind("{*}sheets/{*}sheet")
        ids = {s.get("name"): v for s in sheets for k, v in s.items() if k.endswith("}id")}
        target = links.get(ids.get(sheet, ""), "")
        name = target[1:] if target.startswith("/") else f"xl/{target}"
        if name not in file.namelist():
            return []
        text = file.read(name)
    if not re.search(rb"<(\w+:)?f[\s/>]", text):
        return []
    cells = (e for _, e in ElementTree.iterparse(io.BytesIO(text)) if e.tag.endswith("}c"))
    return [
        cell.get("r", "?") for cell in cells
        if cell.find("{*}f") is not None and cell.get("t") != "str"
        and not cell.findtext("{*}v")
    ]  # fmt: skip


def _check_unpacked(path: Path, raw: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as file:
            size = sum(member.file_size for member in file.infolist())
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError) as e:
        raise ValueError(f"{path}: not a spreadsheet ({e}); save it again, or as CSV") from e
    if size > (most := raised(max(MOST_TEXT, MOST_TIMES * len(raw)))):
        raise ValueError(
            f"{path}: its {len(raw):,} bytes unpack to {size:,}, more than {most:,}; a file made "
            f"to fill memory? If not, save it as CSV, or {RAISE}"
        )


def _text(value: Any) -> str:
    """A cell as CSV would have it; whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
