"""``submissions``: what was accepted, and the two things that an operator does to it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from flue_sqla.admission import outcome_of
from flue_sqla.cli.base import Invocation, group, pass_invocation
from flue_sqla.cli.moments import moment, pause
from flue_sqla.errors import SubmissionMissingError, SubmissionNotRequeuedError
from flue_sqla.records import Attempt, Submission, SubmissionSummary
from flue_sqla.wire import MAX_SAFE_INTEGER, parse_session_key

if TYPE_CHECKING:
    from flue_sqla.flue import Flue

__all__ = ["submissions"]

_COLUMNS = ["seq", "submission", "agent", "instance", "kind", "status", "accepted", "attempts", "owner", "lease until", "note"]
_STATUSES = ["queued", "running", "terminalizing", "joining", "joined", "settled"]


@group("submissions")
def submissions() -> None:
    """List, show, abort and requeue submissions."""


@submissions.command("list")
@click.option("--status", type=click.Choice(_STATUSES), help="Only these.")
@click.option("--agent", metavar="NAME", help="Only this agent's.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--before", type=click.IntRange(1, MAX_SAFE_INTEGER), metavar="SEQ", help="Go on below this sequence number.")
@click.option("--follow", is_flag=True, help="Look again and again until interrupted, and print what changed.")
@click.option("--interval", type=pause, metavar="SECONDS", default=1.0, show_default=True, help="Seconds between looks, with --follow.")
@pass_invocation
def list_submissions(
    call: Invocation, status: str | None, agent: str | None, limit: int, before: int | None, follow: bool, interval: float
) -> None:
    """Submissions, newest first."""
    with call.flue() as flue:
        found = flue.overview.submissions(status=status, agent=agent, limit=limit, before=before)
        more = found[-1].sequence if len(found) == limit else None
        if not follow:
            document = {"submissions": [_document(each) for each in found], "before": more}
            call.out.emit(document, lambda: _draw(call, found, more))
            return
        known: dict[int, SubmissionSummary] = {}
        while True:
            changed = [each for each in reversed(found) if known.get(each.sequence) != each]
            known |= {each.sequence: each for each in changed}
            for each in changed:
                call.out.emit(_document(each), lambda each=each: _line(call, each))  # type: ignore[misc]
            time.sleep(interval)
            found = flue.overview.submissions(status=status, agent=agent, limit=limit, before=before)


@submissions.command("show")
@click.argument("submission_id")
@pass_invocation
def show(call: Invocation, submission_id: str) -> None:
    """One submission with its message, and its outcome and result if it has ended."""
    with call.flue() as flue:
        found = _found(flue, submission_id)
        ended = outcome_of(flue.submissions, flue.conversations, submission_id)
    outcome = {} if ended is None else {name: value for name, value in ended.to_wire().items() if name in ("outcome", "result")}
    facts = {**_readable(found), **outcome}
    rows = [(name, value if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)) for name, value in facts.items()]
    call.out.emit({**found.to_wire(), **outcome}, lambda: call.out.table(["", ""], rows))


@submissions.command("abort")
@click.argument("submission_id")
@pass_invocation
def abort(call: Invocation, submission_id: str) -> None:
    """Ask for the abort of a submission's session: of everything in it that has not ended.

    The worker that runs it notices at its next look; what is queued is settled as aborted when its turn comes.
    """
    with call.flue() as flue:
        found = _found(flue, submission_id)
        stamped = sorted(flue.submissions.request_abort(found.session_key))
    document = {"sessionKey": found.session_key, "aborting": stamped}
    call.out.emit(document, lambda: call.out.line(f"Asked for the abort of {', '.join(stamped) or 'nothing: all of it has ended'}."))


@submissions.command("requeue")
@click.argument("submission_id")
@click.option("--force", is_flag=True, help="Also while its lease has not run out: whoever runs it is fenced off.")
@pass_invocation
def requeue(call: Invocation, submission_id: str, force: bool) -> None:
    """Give a running submission back to the queue, if its lease has run out."""
    with call.flue() as flue:
        found = _found(flue, submission_id)
        if found.status != "running" or found.attempt_id is None:
            raise _refused(found, f"Submission {submission_id} is {found.status}, not running.", "Only what runs can be requeued.")
        if found.lease_expires_at >= flue.clock.now() and not force:
            message = f"Submission {submission_id} is held by {found.owner_id} until {moment(found.lease_expires_at)}."
            raise _refused(found, message, "Wait for the lease to run out, or give --force.")
        attempt = Attempt(submission_id=submission_id, attempt_id=found.attempt_id)
        if not flue.submissions.requeue(attempt):
            raise _refused(found, f"Submission {submission_id} was changed meanwhile.", "Look again.")
    call.out.emit({"requeued": submission_id}, lambda: call.out.line(f"Requeued {submission_id}."))


def _found(flue: Flue, submission_id: str) -> Submission:
    found = flue.submissions.get(submission_id)
    if found is None:
        raise SubmissionMissingError(f"There is no submission {submission_id!r}.", meta={"submissionId": submission_id})
    return found


def _refused(found: Submission, message: str, remedy: str) -> SubmissionNotRequeuedError:
    meta = {"submissionId": found.submission_id, "status": found.status}
    return SubmissionNotRequeuedError(message, meta=meta, remedy=remedy)


def _document(summary: SubmissionSummary) -> dict[str, Any]:
    return summary.model_dump(by_alias=True)


def _readable(found: Submission) -> dict[str, Any]:
    wire = found.to_wire()
    times = {name for name in wire if name.endswith("At")}
    return {name: moment(value) if name in times and isinstance(value, int) else value for name, value in wire.items()}


def _cells(summary: SubmissionSummary) -> tuple[Any, ...]:
    address = parse_session_key(summary.session_key)
    note = summary.error or ("abort requested" if summary.abort_requested_at else "")
    if summary.status == "queued" and summary.canonical_ready_at is None:
        note = note or "not ready"
    return (
        summary.sequence,
        summary.submission_id,
        address.agent if address else "(unknown)",
        address.instance_id if address else summary.session_key,
        summary.kind,
        summary.status,
        moment(summary.accepted_at),
        summary.attempt_count,
        summary.owner_id,
        moment(summary.lease_expires_at),
        note,
    )


def _draw(call: Invocation, found: list[SubmissionSummary], more: int | None) -> None:
    call.out.table(_COLUMNS, [_cells(each) for each in found], empty="No submissions.")
    if more is not None:
        call.out.line(f"More: --before {more}", style="dim")


def _line(call: Invocation, summary: SubmissionSummary) -> None:
    call.out.line("  ".join(str(cell) for cell in _cells(summary) if cell not in (None, "")))
