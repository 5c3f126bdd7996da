"""obstore's credentials: given ones, or those that botocore resolves for a profile or role."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.errors import ConfigurationError

__all__ = ["credential_options"]

_TTL = timedelta(minutes=10)


def credential_options(options: StoreOptions) -> dict[str, Any]:
    """Keyword arguments of obstore's ``S3Store``; empty leaves its own chain (environment, web identity, instance) in force."""
    if options.profile is not None or options.role_arn is not None:
        return {"credential_provider": _BotocoreProvider(options)}
    given = {"access_key_id": options.access_key_id, "secret_access_key": options.secret_access_key, "session_token": options.session_token}
    return {name: value for name, value in given.items() if value is not None}


class _BotocoreProvider:
    """Asks botocore, which knows profiles and roles, on a thread whenever obstore's copy expires."""

    def __init__(self, options: StoreOptions) -> None:
        try:
            import botocore.session
        except ImportError as error:
            raise ConfigurationError(
                "A profile or role with artifact_engine=obstore needs botocore, which is not installed.",
                remedy="Install flue-sqla[s3] as well, or give s3_access_key_id and s3_secret_access_key.",
            ) from error
        self._options = options
        self._session = botocore.session.Session(profile=options.profile)
        if options.access_key_id:
            self._session.set_credentials(options.access_key_id, options.secret_access_key, options.session_token)

    async def __call__(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._resolve)

    def _resolve(self) -> dict[str, Any]:
        if self._options.role_arn is not None:
            sts = self._session.create_client("sts", region_name=self._options.region or "us-east-1")
            issued = sts.assume_role(RoleArn=self._options.role_arn, RoleSessionName="flue-sqla")["Credentials"]
            return _credential(issued["AccessKeyId"], issued["SecretAccessKey"], issued["SessionToken"], issued["Expiration"])
        credentials = self._session.get_credentials()
        if credentials is None:
            raise ConfigurationError(f"The profile {self._options.profile!r} has no credentials.", remedy="Complete the profile.")
        frozen = credentials.get_frozen_credentials()
        return _credential(frozen.access_key, frozen.secret_key, frozen.token, datetime.now(UTC) + _TTL)


def _credential(key: str, secret: str, token: str | None, expires_at: datetime) -> dict[str, Any]:
    return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": expires_at.astimezone(UTC)}
