"""The version stamp: items 71 to 73 and X15 (spec/schema.md §2.1)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flue_sqla.errors import PersistedFormatVersionError
from flue_sqla.testing.stores import Stores

__all__ = ["StampContract"]

META = "flue_meta"


def stamps(stores: Stores) -> dict[str, str]:
    """The two stamps that are there; other rows of ``flue_meta`` are tolerated and none of our business."""
    known = {row["key"]: row["value"] for row in stores.rows.select(META)}
    return {key: known[key] for key in ("format_version", "schema_version") if key in known}


def restamp(stores: Stores, **values: str) -> None:
    """Replaces both stamps by the given ones; the tables stay."""
    for key in ("format_version", "schema_version"):
        stores.rows.delete(META, key=key)
    for key, value in values.items():
        stores.rows.insert(META, key=key, value=value)


def boot(stores: Stores) -> None:
    assert stores.boot is not None
    stores.boot()


class StampContract:
    """What booting does with a database, judged by its stamps alone. Skipped where nothing boots."""

    @pytest.fixture(autouse=True)
    def _only_where_something_boots(self, stores: Stores) -> Any:
        if stores.boot is None:
            pytest.skip("this store has no stamp")
        yield
        restamp(stores, format_version="1")

    def test_s71_a_migrated_store_is_stamped_with_format_version_one(self, stores: Stores) -> None:
        boot(stores)
        assert stamps(stores) == {"format_version": "1"}

    def test_s72_schema_version_eight_is_adopted(self, stores: Stores) -> None:
        restamp(stores, schema_version="8")
        boot(stores)
        assert stamps(stores) == {"format_version": "1"}

    def test_s73_schema_version_seven_is_refused_and_left_alone(self, stores: Stores) -> None:
        restamp(stores, schema_version="7")
        with pytest.raises(PersistedFormatVersionError) as caught:
            boot(stores)
        assert caught.value.code == "persisted_format_version_unsupported"
        assert caught.value.meta == {"storedVersion": "7", "supportedVersion": 1}
        assert stamps(stores) == {"schema_version": "7"}

    @pytest.mark.parametrize("stored", ["2", "0", "", "01", "1.0", " 1", "one"])
    def test_x15_any_other_format_version_is_refused(self, stores: Stores, stored: str) -> None:
        restamp(stores, format_version=stored)
        with pytest.raises(PersistedFormatVersionError) as caught:
            boot(stores)
        assert caught.value.meta == {"storedVersion": stored, "supportedVersion": 1}
        assert stamps(stores) == {"format_version": stored}

    @pytest.mark.parametrize("stored", ["3", "4", "9", "eight"])
    def test_x15_any_other_schema_version_is_refused(self, stores: Stores, stored: str) -> None:
        restamp(stores, schema_version=stored)
        with pytest.raises(PersistedFormatVersionError) as caught:
            boot(stores)
        assert caught.value.meta["storedVersion"] == stored
        assert stamps(stores) == {"schema_version": stored}

    def test_x15_tables_without_a_stamp_are_refused(self, stores: Stores) -> None:
        restamp(stores)
        with pytest.raises(PersistedFormatVersionError) as caught:
            boot(stores)
        assert caught.value.meta == {"storedVersion": "unversioned", "supportedVersion": 1}
        assert stamps(stores) == {}

    @pytest.mark.parametrize("second", ["3", "7", "8"])
    def test_x15_a_second_stamp_is_never_read(self, stores: Stores, second: str) -> None:
        restamp(stores, format_version="1", schema_version=second)
        boot(stores)
        assert stamps(stores) == {"format_version": "1", "schema_version": second}

    @pytest.mark.parametrize(("stored", "words"), [("7", "newer"), ("12", "newer"), ("0", "recognized"), ("one", "recognized")])
    def test_x15_the_message_tells_newer_from_unrecognized(self, stores: Stores, stored: str, words: str) -> None:
        restamp(stores, format_version=stored)
        with pytest.raises(PersistedFormatVersionError) as caught:
            boot(stores)
        assert words in str(caught.value)
        assert stored in str(caught.value)

    def test_x15_mysql_columns_have_the_types_that_flue_validates(self, stores: Stores) -> None:
        if stores.profile != "mysql":
            pytest.skip("only the MySQL adapter of Flue validates column types")
        found = {f"{column['TABLE_NAME']}.{column['COLUMN_NAME']}": column for column in _mysql_columns(stores)}
        for name, (type_, collation) in MYSQL_COLUMNS.items():
            column = found[name]
            # MariaDB reports integer display widths; Flue's own adapter refuses MariaDB for that.
            assert re.sub(r"int\(\d+\)", "int", column["COLUMN_TYPE"].lower()) == type_, name
            assert collation is None or column["COLLATION_NAME"] == collation, name
            assert column["IS_NULLABLE"] == "NO" or type_ == "longtext", name


def _mysql_columns(stores: Stores) -> list[dict[str, Any]]:
    import sqlalchemy as sa

    assert stores.run_on_connection is not None
    query = sa.text(
        "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, COLLATION_NAME, IS_NULLABLE"
        " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()"
    )
    rows: list[dict[str, Any]] = stores.run_on_connection(
        lambda connection: [
            dict(zip(("TABLE_NAME", "COLUMN_NAME", "COLUMN_TYPE", "COLLATION_NAME", "IS_NULLABLE"), row, strict=True))
            for row in connection.execute(query)
        ]
    )
    return rows


#: spec/schema.md §6.2, rules 2 and 3.
MYSQL_COLUMNS: dict[str, tuple[str, str | None]] = {
    "flue_meta.key": ("varchar(64)", "utf8mb4_bin"),
    "flue_submission_chunks.submission_id": ("varchar(255)", "utf8mb4_bin"),
    "flue_submission_chunks.item_id": ("varchar(128)", "utf8mb4_bin"),
    "flue_submission_chunks.chunk_index": ("int", None),
    "flue_submission_chunks.data": ("longtext", None),
    "flue_agent_session_locks.session_key": ("varchar(512)", "utf8mb4_bin"),
    "flue_agent_submissions.sequence": ("bigint unsigned", None),
    "flue_agent_submissions.submission_id": ("varchar(255)", "utf8mb4_bin"),
    "flue_agent_submissions.session_key": ("varchar(512)", "utf8mb4_bin"),
    "flue_agent_submissions.status": ("varchar(16)", "ascii_bin"),
    "flue_agent_submissions.attempt_count": ("int", None),
    "flue_agent_submissions.max_attempts": ("int", None),
    "flue_agent_submissions.timeout_at": ("bigint", None),
    "flue_agent_submissions.lease_expires_at": ("bigint", None),
    "flue_agent_submissions.payload": ("longtext", None),
    "flue_agent_submissions.error": ("longtext", None),
    "flue_agent_submissions.settlement_record": ("longtext", None),
    "flue_conversation_streams.path": ("varchar(255)", "utf8mb4_bin"),
    "flue_conversation_streams.next_offset": ("bigint", None),
    "flue_conversation_streams.identity_json": ("longtext", None),
    "flue_conversation_stream_batches.path": ("varchar(255)", "utf8mb4_bin"),
    "flue_conversation_stream_batches.seq": ("bigint", None),
    "flue_conversation_stream_batches.producer_id": ("varchar(128)", "utf8mb4_bin"),
    "flue_conversation_stream_batches.data": ("longtext", None),
    "flue_attachments.stream_path": ("varchar(255)", "utf8mb4_bin"),
    "flue_attachments.attachment_id": ("varchar(255)", "utf8mb4_bin"),
    "flue_conversation_fold_checkpoints.path": ("varchar(255)", "utf8mb4_bin"),
    "flue_conversation_fold_checkpoints.data": ("longtext", None),
}
