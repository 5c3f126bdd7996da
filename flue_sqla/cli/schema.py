"""``upgrade``, ``current``, ``verify``, ``sql``: what an operator does with the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flue_sqla.cli.base import Invocation, command, pass_invocation
from flue_sqla.cli.exits import Exit

if TYPE_CHECKING:
    from flue_sqla.flue import Flue
    from flue_sqla.schema.verdict import Verdict

__all__ = ["current", "judge", "sql", "upgrade", "verdict_document", "verify"]


def verdict_document(flue: Flue, verdict: Verdict) -> dict[str, Any]:
    """A verdict as programs get it; the keys are stable."""
    from flue_sqla.schema.release import FORMAT_VERSION, HEAD

    return {
        "database": flue.engine.url.render_as_string(hide_password=True),
        "schema": flue.schema,
        "verdict": verdict.kind.value,
        "compatible": verdict.compatible,
        "migratable": verdict.migratable,
        "revision": verdict.revision,
        "supportedRevision": HEAD,
        "formatVersion": verdict.format_version,
        "supportedFormatVersion": FORMAT_VERSION,
        "message": verdict.message,
        "remedy": verdict.remedy,
    }


def judge(flue: Flue) -> Verdict:
    """The verdict on the database of this Flue; reads only."""
    from flue_sqla.schema import migrate
    from flue_sqla.schema.release import VERSION_TABLE

    settings = flue.settings
    return migrate.current(
        flue.engine,
        schema=flue.schema,
        version_table=settings.version_table,
        version_table_schema=settings.version_table_schema,
        branch=settings.version_table != VERSION_TABLE,
    )


def _show(call: Invocation, flue: Flue, verdict: Verdict) -> None:
    call.out.line(f"{verdict.kind.value}: {verdict.message}", style="green" if verdict.compatible else "yellow")
    if verdict.remedy:
        call.out.line(f"What to do: {verdict.remedy}")
    call.out.line(f"Database: {flue.engine.url.render_as_string(hide_password=True)}", style="dim")


@command("current")
@pass_invocation
def current(call: Invocation) -> None:
    """Say what the database is to this release: empty, current, behind, ahead, …

    Reads only, and succeeds whatever it finds; `verify` is the command that refuses.
    """
    with call.flue(boot=False) as flue:
        verdict = judge(flue)
        call.out.emit(verdict_document(flue, verdict), lambda: _show(call, flue, verdict))


@command("verify")
@pass_invocation
def verify(call: Invocation) -> None:
    """Refuse, with exit code 4, unless this release may run on the database as it is. Changes nothing."""
    with call.flue(boot=False, migrate="verify") as flue:
        verdict = flue.boot()
        call.out.emit(verdict_document(flue, verdict), lambda: _show(call, flue, verdict))


@command("upgrade")
@click.option("--lock-timeout-ms", type=click.IntRange(min=1), help="How long to wait for another migration; default FLUE_LOCK_TIMEOUT_MS.")
@pass_invocation
def upgrade(call: Invocation, lock_timeout_ms: int | None) -> None:
    """Migrate the database to this release's schema, under the same guard and lock as a booting replica.

    Does nothing on a current database, and refuses one that it must not touch.
    """
    with call.flue(boot=False, migrate="auto", lock_timeout_ms=lock_timeout_ms) as flue:
        verdict = flue.boot()
        before = verdict.previous
        document = {
            **verdict_document(flue, verdict),
            "changed": before is not None,
            "previous": before.value if before is not None else None,
        }

        def render() -> None:
            call.out.line(f"Migrated: it was {before.value}." if before is not None else "Nothing to do.")
            _show(call, flue, verdict)

        call.out.emit(document, render)


@command("sql")
@click.option(
    "--dialect", type=click.Choice(["postgresql", "mysql", "mariadb", "sqlite"]), help="For which database; default that of the URL."
)
@click.option("--adopt", is_flag=True, help="For a database that a Flue 2.x server created, instead of an empty one.")
@click.option("--grants", is_flag=True, help="The least rights of an application's role and of a migrating role instead.")
@click.option("--app-role", metavar="NAME", help="With --grants: the application's role; default flue_app.")
@click.option("--migrator-role", metavar="NAME", help="With --grants: the migrating role; default flue_migrator.")
@pass_invocation
def sql(call: Invocation, dialect: str | None, adopt: bool, grants: bool, app_role: str | None, migrator_role: str | None) -> Exit:
    """Print SQL for a database administrator; nothing is connected to.

    The DDL of this release as a script, or with --grants the statements that give two roles what they need.
    """
    if grants and adopt:
        raise click.UsageError("--adopt is about the DDL, and --grants prints none.")
    if not grants and (app_role or migrator_role):
        raise click.UsageError("--app-role and --migrator-role belong to --grants.")
    settings = call.settings()
    chosen = dialect or _dialect_of(settings.database_url)
    if grants:
        from flue_sqla.schema import grants as rights

        roles = {"app_role": app_role or "flue_app", "migrator_role": migrator_role or "flue_migrator"}
        text = rights.sql(chosen, schema=settings.schema_name, **roles)
    else:
        from flue_sqla.schema.migrate import offline_sql

        text = offline_sql(
            chosen,
            schema=settings.schema_name,
            adopt=adopt,
            version_table=settings.version_table,
            version_table_schema=settings.version_table_schema,
        )
    call.out.emit({"dialect": chosen, "schema": settings.schema_name, "sql": text}, lambda: call.out.text(text))
    return Exit.OK


def _dialect_of(url: str) -> str:
    from flue_sqla.dialects.engines import normalize_url

    return normalize_url(url).get_backend_name()
