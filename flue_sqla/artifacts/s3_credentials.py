"""Credentials that are not simply given: a profile, a role, or both in a chain."""

from __future__ import annotations

import functools
from typing import Any

from flue_sqla.artifacts.options import StoreOptions

__all__ = ["session_for"]


def session_for(options: StoreOptions) -> Any:
    """An aiobotocore session for the profile and role of ``options``; without them botocore's own chain is in force.

    The role is assumed when the first request is signed and again before its credentials expire.
    """
    from aiobotocore.session import AioSession

    session = AioSession(profile=options.profile)
    session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
    if options.role_arn is not None:
        session._credentials = _assumed(session, options)
    return session


@functools.cache
def _descriptions(data_path: str | None) -> Any:
    """What botocore knows of the services, parsed once for the clients of all event loops: three quarters of what one takes to make."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def _assumed(session: Any, options: StoreOptions) -> Any:
    from aiobotocore.credentials import AioDeferredRefreshableCredentials
    from aiobotocore.session import AioSession

    source = AioSession(profile=options.profile)
    if options.access_key_id:
        source.set_credentials(options.access_key_id, options.secret_access_key, options.session_token)

    async def assume() -> dict[str, Any]:
        async with source.create_client("sts", region_name=options.region or "us-east-1") as sts:
            client: Any = sts
            answer = await client.assume_role(RoleArn=options.role_arn, RoleSessionName="flue-sqla")
        issued = answer["Credentials"]
        return {
            "access_key": issued["AccessKeyId"],
            "secret_key": issued["SecretAccessKey"],
            "token": issued["SessionToken"],
            "expiry_time": issued["Expiration"].isoformat(),
        }

    return AioDeferredRefreshableCredentials(refresh_using=assume, method="assume-role")
