"""The version stamp (spec/schema.md §2, §3.1)."""

from __future__ import annotations

from sqlalchemy import Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from flue_sqla.models.base import TABLE_OPTIONS, Base, short_text

__all__ = ["Meta"]


class Meta(Base):
    """One fact about the database per row; ``format_version`` is the stamp every generation looks at first."""

    __tablename__ = "flue_meta"
    __table_args__ = (TABLE_OPTIONS,)

    key: Mapped[str] = mapped_column(short_text(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text().with_variant(mysql.VARCHAR(64), "mysql", "mariadb"))
