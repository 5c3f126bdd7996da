"""``artifacts``: store, fetch, list, verify, sweep and move files of any size."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flue_sqla.cli.base import Invocation, group, pass_invocation
from flue_sqla.cli.exits import Exit
from flue_sqla.cli.output import counted
from flue_sqla.cli.targets import refuse_early, taken, writing
from flue_sqla.errors import ArtifactStoreError, ConfigurationError

if TYPE_CHECKING:
    from flue_sqla.artifacts.options import StoreOptions
    from flue_sqla.records import SweepReport, VerifyReport
    from flue_sqla.records.artifact import TransferReport

__all__ = ["artifacts"]

_COPY = 1024 * 1024
_SIDES: dict[Any, str] = {"source": "--from", "target": "--to"}
_LONGEST_GRACE = 100 * 365 * 24 * 3600

_tenant = click.option("--tenant", default="default", show_default=True, metavar="NAME", help="Whose artifacts.")


@group("artifacts")
def artifacts() -> None:
    """Store, fetch, verify, sweep and move artifacts."""


@artifacts.command("put")
@click.argument("source", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--name", help="What people call it; default the file's name.")
@click.option("--content-type", metavar="TYPE")
@_tenant
@click.option("--run-id", metavar="ID")
@click.option("--submission-id", metavar="ID")
@click.option("--metadata", metavar="JSON", help="A JSON object that is kept with it.")
@click.option("--sha256", metavar="HEX", help="Refuse other bytes than these.")
@click.option("--max-bytes", type=int, metavar="N", help="Refuse a longer source.")
@pass_invocation
def put(call: Invocation, /, source: str, name: str | None, metadata: str | None, sha256: str | None, **given: Any) -> None:
    """Store the file SOURCE, or standard input when it is "-", and print the artifact."""
    described = {**given, "name": name or ("stdin" if source == "-" else Path(source).name), "metadata": _metadata(metadata)}
    with call.flue() as flue:
        try:
            stored = flue.artifacts.put(sys.stdin.buffer if source == "-" else source, expected_sha256=sha256, **described)
        except OSError as error:  # the stores' own are typed
            raise ConfigurationError(
                f"The file {source!r} cannot be read: {error.strerror or error}.",
                meta={"path": source},
                remedy="Name a file that can be read to its end; nothing was stored.",
            ) from error
    call.out.emit(stored.to_wire(), lambda: call.out.line(f"{stored.id}  {counted(stored.size, 'byte')}  sha256 {stored.sha256}"))


@artifacts.command("get")
@click.argument("artifact_id", metavar="ID")
@click.argument("target", type=click.Path(dir_okay=False, allow_dash=True))
@_tenant
@click.option("--force", is_flag=True, help="Overwrite TARGET if it exists.")
@pass_invocation
def get(call: Invocation, artifact_id: str, target: str, tenant: str, force: bool) -> None:
    """Write the artifact ID to the file TARGET, or to standard output when it is "-".

    The digest is verified on the way. A file appears under its name only when all of it is there and right, and only its owner may read
    it. One that is there already is left alone unless --force is given.
    """
    if target != "-":
        refuse_early(target, force=force)
    with call.flue() as flue, flue.artifacts.open(artifact_id, tenant=tenant, verify=True) as source:
        if target == "-":
            shutil.copyfileobj(source, sys.stdout.buffer, _COPY)
            sys.stdout.buffer.flush()
            return
        size = _write_whole(source, Path(target), force)
    call.out.emit({"id": artifact_id, "path": target, "size": size}, lambda: call.out.line(f"{target}  {counted(size, 'byte')}"))


@artifacts.command("list")
@_tenant
@click.option("--run-id", metavar="ID", help="Only those of this run.")
@click.option("--submission-id", metavar="ID", help="Only those of this submission.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="At most so many.")
@click.option("--cursor", metavar="CURSOR", help="Continue after the page that gave it.")
@pass_invocation
def list_artifacts(call: Invocation, /, **given: Any) -> None:
    """List a tenant's artifacts, oldest first."""
    with call.flue() as flue:
        page = flue.artifacts.list(**given)
    rows = [(found.id, found.name, found.content_type, found.size, found.run_id, found.submission_id) for found in page.artifacts]
    columns = ["artifact", "name", "type", "bytes", "run", "submission"]
    call.out.emit(page.to_wire(), lambda: call.out.table(columns, rows, empty=f"No artifacts of tenant {given['tenant']!r}."))
    if page.next_cursor is not None:
        call.out.line(f"More: --cursor {page.next_cursor}", style="dim")


@artifacts.command("verify")
@click.option("--tenant", metavar="NAME", help="Only this tenant's; default everybody's.")
@click.option("--cursor", metavar="ID", help="Continue where an interrupted run was.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Check at most so many.")
@pass_invocation
def verify(call: Invocation, tenant: str | None, cursor: str | None, limit: int | None) -> Exit:
    """Read the stored bytes again and compare their digests.

    Exit code 1 when something is missing or damaged, or was moved to another store than the configured one.
    """
    reached: list[VerifyReport] = []
    with call.flue() as flue, call.out.progress() as bar:
        task = bar.add_task("artifacts", total=flue.artifacts.totals()[0] if tenant is None and cursor is None else None)

        def progress(report: VerifyReport) -> None:
            reached[:] = [report]
            bar.update(task, completed=report.checked)

        try:
            report = flue.artifacts.verify(tenant=tenant, cursor=cursor, limit=limit, progress=progress)
        except BaseException:
            if reached:
                call.out.note(f"{reached[0].checked} checked. Continue with --cursor {reached[0].cursor}")
            raise
    call.out.emit({"ok": report.ok, **report.to_wire()}, lambda: _show_verified(call, report))
    return Exit.OK if report.ok else Exit.FAILURE


@artifacts.command("sweep")
@click.option(
    "--grace",
    type=click.IntRange(0, _LONGEST_GRACE),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="Spare bytes younger than this.",
)
@click.option("--repair", is_flag=True, help="Remove what is listed: bytes without a row, rows without bytes, half-done deletions.")
@pass_invocation
def sweep(call: Invocation, grace: int, repair: bool) -> Exit:
    """Find bytes without rows, rows without bytes and unfinished deletions. Exit code 1 when some were found and not repaired."""
    with call.flue() as flue:
        report = flue.artifacts.sweep(grace_ms=grace * 1000, repair=repair)
    call.out.emit({"clean": report.clean, **report.to_wire()}, lambda: _show_swept(call, report))
    return Exit.OK if report.clean or (repair and not report.busy) else Exit.FAILURE


@artifacts.command("transfer")
@click.option("--from", "source", required=True, metavar="URL", help="The store that has the bytes: a folder, s3://bucket/prefix, …")
@click.option("--to", "target", required=True, metavar="URL", help="The store that is to have them.")
@click.option("--from-env-file", metavar="FILE", help="FLUE_S3_… of the source; default those of this process.")
@click.option("--to-env-file", metavar="FILE", help="FLUE_S3_… of the target; default those of this process.")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Artifacts copied at once.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@pass_invocation
def transfer(
    call: Invocation,
    source: str,
    target: str,
    from_env_file: str | None,
    to_env_file: str | None,
    parallel: int,
    dry_run: bool,
) -> None:
    """Copy all artifacts to another store and switch their rows to it.

    Digests are verified, and rows are switched when every byte is there. May be interrupted and run again. The source keeps its bytes.
    Restart the application with the new store right after it; what was put in between is moved by running it once more.
    """
    options = (_store_options(call, "--from", source, from_env_file), _store_options(call, "--to", target, to_env_file))
    with call.flue() as flue, call.out.progress() as bar:
        task = bar.add_task("artifacts", total=flue.artifacts.totals()[0])

        def progress(report: TransferReport) -> None:
            bar.update(task, completed=report.artifacts)

        with _named():
            report = flue.artifacts.transfer(*options, dry_run=dry_run, at_once=parallel, progress=progress)
    call.out.emit(report.to_wire(), lambda: _show_transferred(call, report, dry_run))


def _store_options(call: Invocation, option: str, url: str, env_file: str | None) -> StoreOptions:
    from flue_sqla.artifacts.options import StoreOptions

    # Only the file: what the process has set is for the other side.
    settings = call.settings() if env_file is None else call.settings_of(env_file)
    with _named(option):
        return StoreOptions.from_settings(settings, url)


@contextmanager
def _named(option: str | None = None) -> Iterator[None]:
    """Around what may be wrong with the store of an option, None for whichever failed: remedies know only the configured store."""
    try:
        yield
    except (ConfigurationError, ArtifactStoreError) as error:
        wrong = option or _SIDES.get(error.meta.get("side"))
        if wrong is None:
            raise
        remedy = error.remedy.replace("FLUE_ARTIFACTS", wrong)
        raise type(error)(error.message, meta=error.meta, remedy=remedy if wrong in remedy else f"{wrong}: {remedy}") from error


def _metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter("it is not JSON, or nested too deeply", param_hint="--metadata") from error
    if not isinstance(found, dict):
        raise click.BadParameter("it is not a JSON object", param_hint="--metadata")
    return found


def _write_whole(source: Any, target: Path, force: bool) -> int:
    """Copy to a temporary name beside ``target``, which only the owner may read, and rename; how many bytes."""
    with writing(target):
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(source, file, _COPY)
                size = file.tell()
            _rename(temporary, target, force)
        finally:
            Path(temporary).unlink(missing_ok=True)
    return size


def _rename(temporary: str, target: Path, force: bool) -> None:
    if force:
        os.replace(temporary, target)
        return
    try:
        # Unlike a renaming, a second name never takes the place of a file that appeared meanwhile.
        os.link(temporary, target)
    except FileExistsError:
        raise taken(target) from None
    except OSError:  # a filesystem without second names
        os.replace(temporary, target)


def _show_verified(call: Invocation, report: VerifyReport) -> None:
    if report.findings:
        rows = [(found.tenant, found.id, found.reason, found.storage_key) for found in report.findings]
        call.out.table(["tenant", "artifact", "found", "key"], rows, title="Not as they were stored")
    moved = sum(found.reason == "moved" for found in report.findings)
    damaged = f"{len(report.findings) - moved} damaged" + (f", {moved} in another store" if moved else "")
    call.out.line(f"{report.checked} checked, {counted(report.bytes_read, 'byte')} read, {damaged}.")
    if moved:
        call.out.line("What to do: Set FLUE_ARTIFACTS to the store that `flue-sqla artifacts transfer` moved the artifacts to.")
    if report.cursor is not None:
        call.out.line(f"Continue with --cursor {report.cursor}", style="dim")


def _show_swept(call: Invocation, report: SweepReport) -> None:
    found = {
        "bytes without a row": report.orphans,
        "row without bytes": report.missing,
        "unfinished deletion": report.deleting,
        "held by a transaction": report.busy,
    }
    call.out.table(["what", "where"], [(what, where) for what, places in found.items() for where in places])
    done = "repaired" if report.repaired else "found; --repair removes them"
    call.out.line("Store and rows agree." if report.clean else f"{sum(map(len, found.values()))} {done}.")
    if report.missing and not report.repaired:
        call.out.line("Before you repair rows without bytes: does FLUE_ARTIFACTS name the store that these artifacts were put into?")
    if report.foreign:
        call.out.line(f"{counted(report.foreign, 'file')} of no artifact left alone.", style="dim")
    if report.uploads:
        call.out.line(f"{counted(report.uploads, 'unfinished upload')} discarded.")


def _show_transferred(call: Invocation, report: TransferReport, dry_run: bool) -> None:
    verb, copied = "to copy" if dry_run else "copied", counted(report.copied_bytes, "byte")
    call.out.line(f"{counted(report.artifacts, 'artifact')}: {report.copied} {verb} ({copied}), {report.present} there already.")
    if report.switched and not report.artifacts:
        call.out.line("No row names the store of --from, so none was switched.")
    elif report.switched:
        call.out.line("The rows name the new store. Set FLUE_ARTIFACTS to it and restart.", style="green")
