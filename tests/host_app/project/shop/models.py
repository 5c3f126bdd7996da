"""The shop's own tables. One of them is named as if it were one of Flue's."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base of the shop's models; it knows nothing of flue_sqla."""


class Customer(Base):
    __tablename__ = "flueless_customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), index=True)


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("flueless_customers.id"))
    submission_id: Mapped[str | None] = mapped_column(String(255))
