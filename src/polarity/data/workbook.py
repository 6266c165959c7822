"""Excel workbooks (.xlsx): the sheet that has rows, as text."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import python_calamine as calamine

from polarity.config.sections import FileConfig
from polarity.data.dialect import header_names
from polarity.errors import DataRejected

_MARKER = "xl/workbook.xml"
Cells = list[str | None]


def is_workbook(path: Path) -> bool:
    """Whether a file is an Excel workbook of the current format, whatever its name."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _MARKER in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return False  # reported when it is unpacked


class Workbook:
    """The only sheet of a workbook that has rows.

    The first row that is not blank is the header, unless `config.header` is `none`. Unlike the text formats, a workbook
    is read into memory; a sheet has at most 1,048,576 rows.

    Parameters
    ----------
    path : Path
    config : FileConfig

    Attributes
    ----------
    columns : tuple of str
    sheet : str
        Name of the sheet.

    Raises
    ------
    DataRejected
        If the file is damaged or protected, or if no sheet or more than one has rows.
    """

    def __init__(self, path: Path, config: FileConfig) -> None:
        try:
            book = calamine.CalamineWorkbook.from_path(str(path))
            filled = [
                name for name in book.sheet_names if (sheet := book.get_sheet_by_name(name)).height and sheet.width
            ]
            if len(filled) != 1:
                raise DataRejected(
                    f"{path} has {len(filled)} sheets with rows ({', '.join(filled[:5])}); save the right one as a "
                    "file of its own."
                    if filled
                    else f"{path} has no rows; a header and at least one row are needed."
                )
            self.sheet = filled[0]
            self._rows = book.get_sheet_by_name(self.sheet).to_python(skip_empty_area=True)
        except calamine.PasswordError as error:
            raise DataRejected(f"{path} is protected by a password; save it without.") from error
        except calamine.CalamineError as error:
            raise DataRejected(
                f"{path}: the workbook is damaged or cut off ({error}). Save or download it again."
            ) from error
        first = next((number for number, row in enumerate(self._rows) if any(cell != "" for cell in row)), 0)
        names = [(_text(cell) or "").strip() for cell in self._rows[first]]
        if config.header == "none":
            self.columns = tuple(f"column_{position}" for position in range(1, len(names) + 1))
            self._first = first
        else:
            self.columns = header_names(names, path)
            self._first = first + 1

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """The rows that are not blank, with their numbers among them, from 1."""
        number = 0
        for row in self._rows[self._first :]:
            cells = [_text(cell) for cell in row]
            if any(cells):
                number += 1
                yield number, list(chain(cells, [None] * (len(self.columns) - len(cells))))


def _text(cell: object) -> str | None:
    """A cell as a text file would hold it: whole numbers without a fraction, dates by ISO 8601."""
    if cell == "":
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell)
