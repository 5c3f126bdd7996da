"""The direct way from the first time on, for tests that send each statement once."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flue_sqla.direct import Direct

__all__ = ["compile_at_once"]


def compile_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a statement directly without having seen it before."""
    form = Direct._form

    def at_once(self: Direct, statement: sa.Executable, names: tuple[str, ...]) -> object:
        self._compiled.setdefault(statement, {})
        return form(self, statement, names)

    monkeypatch.setattr(Direct, "_form", at_once)
