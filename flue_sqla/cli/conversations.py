"""``conversations verify``: would a Flue server read what is stored?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import click

from flue_sqla.cli.base import Invocation, group, pass_invocation
from flue_sqla.cli.exits import Exit
from flue_sqla.cli.output import counted
from flue_sqla.errors import ConversationStreamStoreError

if TYPE_CHECKING:
    from flue_sqla.conversation.verification import StreamVerdict
    from flue_sqla.flue import Flue

__all__ = ["conversations"]

_PAGE = 1000
_BATCHES = 100


@group("conversations")
def conversations() -> None:
    """Verify conversation streams."""


@conversations.command("verify")
@click.option("--path", "paths", multiple=True, metavar="PATH", help="A stream, agents/<agent>/<instance>; may be repeated. Default: all.")
@click.option(
    "--rules",
    type=click.Choice(["any", "2.0", "2.1"]),
    default="any",
    show_default=True,
    help="Whose reader: Flue 2.0.x, 2.1.0, or sound for either of them.",
)
@pass_invocation
def verify(call: Invocation, paths: tuple[str, ...], rules: str) -> Exit:
    """Fold each stream as a Flue server does, and name the first record that it would refuse.

    Reads only. Exit code 1 when a stream is broken. A broken stream makes its whole instance unusable for a Flue server.
    """
    report: dict[str, Any] = {"ok": True, "streams": 0, "batches": 0, "records": 0, "broken": []}
    with call.flue() as flue, call.out.progress() as progress:
        task = progress.add_task("streams", total=len(paths) or None)
        for path in paths or _all_paths(flue):
            _add(report, path, _verdict(flue, path, rules))
            progress.advance(task)
    report["ok"] = not report["broken"]
    call.out.emit(report, lambda: _show(call, report))
    return Exit.OK if report["ok"] else Exit.FAILURE


def _all_paths(flue: Flue) -> Iterator[str]:
    found = flue.conversations.list_paths(limit=_PAGE)
    while found:
        yield from found
        found = flue.conversations.list_paths(after=found[-1], limit=_PAGE)


def _verdict(flue: Flue, path: str, rules: str) -> StreamVerdict | ConversationStreamStoreError:
    """The verdict, or the error that says that the stored batches cannot even be read."""
    from flue_sqla.conversation.graph import Rules
    from flue_sqla.conversation.verification import ALL_RULES, verify_stream

    if flue.conversations.get_meta(path) is None:
        return ConversationStreamStoreError("read", path, "Stream does not exist.")
    try:
        return verify_stream(_read(flue, path), rules=ALL_RULES if rules == "any" else (cast(Rules, rules),))
    except ConversationStreamStoreError as error:
        return error


def _read(flue: Flue, path: str) -> Iterator[tuple[str, list[Any]]]:
    offset = "-1"
    while True:
        page = flue.conversations.read(path, offset=offset, limit=_BATCHES)
        yield from ((batch.offset, batch.records) for batch in page.batches)
        if page.up_to_date:
            return
        offset = page.next_offset


def _add(report: dict[str, Any], path: str, verdict: StreamVerdict | ConversationStreamStoreError) -> None:
    report["streams"] += 1
    if isinstance(verdict, ConversationStreamStoreError):
        unreadable = {"offset": None, "recordId": None, "recordType": None, "reason": verdict.reason}
        report["broken"].append({"path": path, **unreadable})
        return
    report["batches"] += verdict.batches
    report["records"] += verdict.records
    if verdict.broken is not None:
        found = verdict.broken
        where = {"offset": found.offset, "recordId": found.record_id, "recordType": found.record_type, "reason": found.reason}
        report["broken"].append({"path": path, **where})


def _show(call: Invocation, report: dict[str, Any]) -> None:
    if report["broken"]:
        rows = [(row["path"], row["offset"], row["recordType"], row["recordId"], row["reason"]) for row in report["broken"]]
        call.out.table(["path", "offset", "type", "record", "reason"], rows, title="Broken streams")
    batches = "1 batch" if report["batches"] == 1 else f"{report['batches']} batches"
    counts = f"{counted(report['streams'], 'stream')}, {batches}, {counted(report['records'], 'record')}"
    if report["ok"]:
        call.out.line(f"Sound: {counts}.", style="green")
    else:
        call.out.line(f"{len(report['broken'])} broken of {counts}.", style="red")
