"""Tables for people, on stderr; stdout belongs to the JSON."""

from __future__ import annotations

from collections.abc import Sequence

from .escaped import escaped


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; numbers, wherever they stand, are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    for place, name in enumerate(columns):
        numeric = all(_is_number(row[place]) for row in rows)
        table.add_column(name, justify="right" if numeric and place else "left")
    for row in rows:
        table.add_row(*(escape(escaped(cell)) for cell in row))
    Console(stderr=True).print(table)


def _is_number(cell: str) -> bool:
    return not cell.strip("0123456789.,-+%± ")
