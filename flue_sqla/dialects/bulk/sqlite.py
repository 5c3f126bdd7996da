"""SQLite: any value may stand in any column."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy.types import TypeEngine

from flue_sqla.dialects.bulk.base import BulkDialect
from flue_sqla.wire import MAX_SAFE_INTEGER

__all__ = ["SQLiteBulk"]


class SQLiteBulk(BulkDialect):
    """A write transaction locks the whole file, and AUTOINCREMENT follows the values that are inserted."""

    typed_columns: ClassVar[bool] = False

    def integer_range(self, kind: TypeEngine[Any]) -> tuple[int, int]:
        return -MAX_SAFE_INTEGER, MAX_SAFE_INTEGER
