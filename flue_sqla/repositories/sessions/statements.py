"""The statements on session documents, built once."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flue_sqla.dialects import DialectImpl
from flue_sqla.models.tables import image_chunks, session_entries, sessions
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.sessions.document import COMPACTION
from flue_sqla.repositories.sessions.images import OWNER_KIND
from flue_sqla.repositories.sessions.seal import HEAD_DIGITS, SEAL_PREFIX_DIGITS

_s, _e, _c = sessions.c, session_entries.c, image_chunks.c
_TEXT = sa.Text()
KEY = sa.bindparam("of_session", type_=_TEXT)
_IDS: sa.BindParameter[Any] = sa.bindparam("of_entries", expanding=True)
_OWNER = sa.literal_column(f"'{OWNER_KIND}'", _TEXT)
_COMPACTION = sa.literal_column(f"'{COMPACTION}'", _TEXT)

# -- one session row ----------------------------------------------------------------------------------------------------------------

HEAD = sa.select(_s.data, _s.leaf_id, _s.entry_count, _s.prefix_digest).where(_s.id == KEY)
LOCKED_HEAD = HEAD.with_for_update()
INSERT_HEAD: PerDialect[Any] = PerDialect(lambda dialect: dialect.insert_ignore(sessions))
UPDATE_HEAD = (
    sa.update(sessions)
    .where(_s.id == KEY)
    .values({name: sa.bindparam(f"new_{name}") for name in ("data", "leaf_id", "entry_count", "prefix_digest")})
)
DELETE_HEAD = sa.delete(sessions).where(_s.id == KEY)

# -- entries and their images -------------------------------------------------------------------------------------------------------

_OF_SESSION = _e.session_id == KEY
DIGESTS = sa.select(_e.entry_id, _e.position, _e.digest).where(_OF_SESSION, _e.position >= sa.bindparam("since", type_=sa.Integer()))
TEXTS = sa.select(_e.entry_id, _e.position, _e.digest, _e.data, _e.kind, _e.parent_id).where(_OF_SESSION)
SOME_TEXTS = sa.select(_e.entry_id, _e.data).where(_OF_SESSION, _e.entry_id.in_(_IDS)).with_for_update()
LAST_POSITION = sa.select(_e.position).where(_OF_SESSION).order_by(_e.position.desc()).limit(1).with_for_update()
INSERT_ENTRY = sa.insert(session_entries)
_OF_ENTRY = sa.and_(_OF_SESSION, _e.entry_id == sa.bindparam("of_entry", type_=_TEXT))
UPDATE_ENTRY = (
    sa.update(session_entries)
    .where(_OF_ENTRY)
    .values({name: sa.bindparam(f"new_{name}") for name in ("position", "data", "parent_id", "kind", "digest")})
)
DELETE_ENTRIES = sa.delete(session_entries).where(_OF_SESSION)
DELETE_SOME_ENTRIES = DELETE_ENTRIES.where(_e.entry_id.in_(_IDS))

_OF_OWNER = sa.and_(_c.owner_kind == _OWNER, _c.owner_id == KEY)
CHUNKS = sa.select(_c.owner_part, _c.image_id, _c.chunk_index, _c.chunk_count, _c.data).where(_OF_OWNER)
SOME_CHUNKS = CHUNKS.where(_c.owner_part.in_(_IDS))
INSERT_CHUNK = sa.insert(image_chunks)
DELETE_CHUNKS = sa.delete(image_chunks).where(_OF_OWNER)
DELETE_SOME_CHUNKS = DELETE_CHUNKS.where(_c.owner_part.in_(_IDS))

# -- reading ------------------------------------------------------------------------------------------------------------------------
#
# Each read is one statement, so it sees one state: a row for the head, then a row per entry, or one per chunk of an entry with images.


def _head_row() -> sa.Select[Any]:
    none = sa.literal_column("''", _TEXT)
    zero = sa.literal_column("0", sa.Integer())
    return sa.select(
        zero.label("part"),
        zero.label("position"),
        none.label("entry_id"),
        _s.data.label("data"),
        none.label("image_id"),
        zero.label("chunk_index"),
        zero.label("chunk_count"),
        none.label("chunk"),
    ).where(_s.id == KEY)


def _entry_rows(entries: sa.FromClause) -> sa.Select[Any]:
    chunk = sa.and_(_c.owner_kind == _OWNER, _c.owner_id == KEY, _c.owner_part == entries.c.entry_id)
    return sa.select(
        sa.literal_column("1", sa.Integer()),
        entries.c.position,
        entries.c.entry_id,
        entries.c.data,
        _c.image_id,
        _c.chunk_index,
        _c.chunk_count,
        _c.data,
    ).select_from(entries.outerjoin(image_chunks, chunk))


LOAD = sa.union_all(_head_row(), _entry_rows(session_entries).where(_OF_SESSION))


def _tail() -> sa.Select[Any]:
    last = (
        sa.select(_e.position, _e.entry_id, _e.data)
        .where(_OF_SESSION)
        .order_by(_e.position.desc())
        .limit(sa.bindparam("fetch", type_=sa.Integer()))
        .subquery("last_entries")
    )
    return _entry_rows(last)


TAIL = _tail()


def _context(dialect: DialectImpl) -> Any:
    return _walk(dialect) if dialect.recursive_walks else _window(dialect)


CONTEXT: PerDialect[Any] = PerDialect(_context)
"""The head and at least the entries of the context, where the columns beside the documents tell the truth; the reader checks."""


def _walk(dialect: DialectImpl) -> Any:
    """From the leaf, parent by parent, to the first entry that the last compaction kept."""
    columns = (_e.entry_id, _e.parent_id, _e.position, _e.data)
    compacted = _e.kind == _COMPACTION
    kept_from = sa.case((compacted, dialect.json_field(_e.data, "firstKeptEntryId")))
    start = (
        sa.select(
            *columns,
            sa.case((compacted, 1), else_=0).label("compacted"),
            kept_from.label("kept_from"),
            # A path has as many entries as the session at most: without this a circle of parents would not end.
            _s.entry_count.label("left_over"),
        )
        .select_from(sessions.join(session_entries, sa.and_(_e.session_id == _s.id, _e.entry_id == _s.leaf_id)))
        .where(_s.id == KEY)
        .cte("path", recursive=True)
    )
    before = start.c
    step = (
        sa.select(
            *columns,
            sa.case((sa.or_(before.compacted == 1, compacted), 1), else_=0),
            sa.case((before.compacted == 1, before.kept_from), else_=kept_from),
            before.left_over - 1,
        )
        .select_from(start.join(session_entries, sa.and_(_OF_SESSION, _e.entry_id == before.parent_id)))
        .where(before.left_over > 1, sa.or_(before.compacted == 0, before.entry_id != before.kept_from))
    )
    return sa.union_all(_head_row(), _entry_rows(start.union_all(step)))


def _window(dialect: DialectImpl) -> Any:
    """From the position of the first entry that the newest compaction kept: the context, as long as the conversation does not branch."""
    kept, compaction = session_entries.alias("kept"), session_entries.alias("compaction")

    def newest(column: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
        return (
            sa.select(column)
            .where(compaction.c.session_id == KEY, compaction.c.kind == _COMPACTION)
            .order_by(compaction.c.position.desc())
            .limit(1)
            .scalar_subquery()
        )

    first_kept = newest(dialect.json_field(compaction.c.data, "firstKeptEntryId"))
    kept_position = sa.select(kept.c.position).where(kept.c.session_id == KEY, kept.c.entry_id == first_kept).scalar_subquery()
    start = sa.func.coalesce(kept_position, newest(compaction.c.position), 0)
    return sa.union_all(_head_row(), _entry_rows(session_entries).where(_OF_SESSION, _e.position >= start))


# -- appending in one statement -----------------------------------------------------------------------------------------------------


@cache
def append_in_one(*, expecting: bool) -> sa.Select[Any]:
    """PostgreSQL: move the head and insert the entries, if the row is one that this library sealed; else return no row.

    Everything is computed from the row's own columns, which a statement that waited looks at again; a subquery over the entries would
    see the snapshot from before the wait.
    """
    data = _edited(_s.data)
    count = sa.bindparam("added", type_=sa.Integer())
    moved = sa.update(sessions).where(_s.id == KEY, sa.func.right(_s.prefix_digest, HEAD_DIGITS) == _head_digest(_s.data))
    if expecting:
        moved = moved.where(_s.leaf_id == sa.bindparam("expected", type_=_TEXT))
    head = (
        moved.values(
            data=data,
            leaf_id=sa.bindparam("leaf", type_=_TEXT),
            entry_count=_s.entry_count + count,
            prefix_digest=sa.func.left(_s.prefix_digest, SEAL_PREFIX_DIGITS) + _head_digest(data),
        )
        .returning(_s.id, (_s.entry_count - count).label("base"))
        .cte("head")
    )
    written = _insert_rows(head).returning(_e.entry_id).cte("written")
    pictured = _insert_chunks(head).returning(_c.image_id).cte("pictured")
    return sa.select(head.c.id).add_cte(written, pictured)


def _head_digest(data: Any) -> sa.ColumnElement[str]:
    digest = sa.func.encode(sa.func.sha256(sa.func.convert_to(data, "UTF8")), "hex", type_=_TEXT)
    return sa.func.left(digest, HEAD_DIGITS, type_=_TEXT)


def _edited(data: sa.ColumnElement[str]) -> sa.ScalarSelect[str]:
    """The document with its leaf and time replaced and every other byte kept: json, unlike jsonb, keeps order and text of the members."""
    member = (
        sa.func.json_each(sa.cast(data, pg.JSON()))
        .table_valued(sa.column("key", _TEXT), sa.column("value", pg.JSON()), with_ordinality="place", name="member", joins_implicitly=True)
        .render_derived()
    )
    numeric = sa.func.json_typeof(member.c.value) == "number"
    now = sa.case((numeric, sa.bindparam("now_number", type_=_TEXT)), else_=sa.bindparam("now_text", type_=_TEXT))
    value = sa.case(
        (member.c.key == "leafId", sa.bindparam("leaf_json", type_=_TEXT)),
        (member.c.key == "updatedAt", now),
        else_=sa.cast(member.c.value, _TEXT),
    )
    pair = sa.cast(sa.func.to_json(member.c.key), _TEXT) + ":" + value
    members = sa.func.string_agg(pair, pg.aggregate_order_by(sa.literal_column("','", _TEXT), member.c.place), type_=_TEXT)
    return sa.select(sa.literal_column("'{'", _TEXT) + members + "}").correlate(sessions).scalar_subquery()


def _unnested(name: str, **columns: sa.types.TypeEngine[Any]) -> Any:
    arrays = [sa.bindparam(f"{name}_{column}", type_=pg.ARRAY(kind)) for column, kind in columns.items()]
    derived = [sa.column(column, kind) for column, kind in columns.items()]
    return sa.func.unnest(*arrays).table_valued(*derived, with_ordinality="place", name=name).render_derived()


def _insert_rows(head: sa.CTE) -> Any:
    new = _unnested("new", entry_id=_TEXT, data=_TEXT, parent_id=_TEXT, kind=_TEXT, digest=_TEXT)
    position = sa.cast(head.c.base + new.c.place - 1, sa.Integer())
    rows = sa.select(head.c.id, new.c.entry_id, position, new.c.data, new.c.parent_id, new.c.kind, new.c.digest)
    names = ["session_id", "entry_id", "position", "data", "parent_id", "kind", "digest"]
    return sa.insert(session_entries).from_select(names, rows.select_from(head.join(new, sa.true())))


def _insert_chunks(head: sa.CTE) -> Any:
    integer = sa.Integer()
    chunk = _unnested("chunk", owner_part=_TEXT, image_id=_TEXT, chunk_index=integer, chunk_count=integer, data=_TEXT)
    rows = sa.select(_OWNER, head.c.id, *(chunk.c[name] for name in ("owner_part", "image_id", "chunk_index", "chunk_count", "data")))
    names = ["owner_kind", "owner_id", "owner_part", "image_id", "chunk_index", "chunk_count", "data"]
    return sa.insert(image_chunks).from_select(names, rows.select_from(head.join(chunk, sa.true())))
