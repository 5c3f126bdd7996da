"""The attachments of a submission's user message, as the attachment store takes them (spec/attachments.md §1, §6)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from flue_sqla.errors import InvalidInputError


def submission_attachments(payload: Mapping[str, Any]) -> list[tuple[dict[str, Any], bytes]]:
    """The reference and the bytes of each attachment, in order; the references are what ``input_record`` takes.

    Ids are deterministic, so a second attempt puts the same identity. Raises :class:`InvalidInputError` for data that is not base64.
    """
    found = []
    for index, item in enumerate(payload["message"].get("attachments", ())):
        attachment_id = f"att_{payload['kind']}_{payload['submissionId']}_{index}"
        try:
            data = base64.b64decode(item["data"] + "==")  # Node tolerates missing padding; surplus padding is ignored
        except (binascii.Error, ValueError):
            raise InvalidInputError(f"The attachment {attachment_id} is not base64.", meta={"attachmentId": attachment_id}) from None
        ref = {"id": attachment_id, "mimeType": item["mimeType"], "size": len(data), "digest": hashlib.sha256(data).hexdigest()}
        if item.get("filename"):
            ref["filename"] = item["filename"]
        found.append((ref, data))
    return found
