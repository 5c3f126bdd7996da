"""``python -m tests.attachments.killed URL FOLDER STEP``: a process that kills itself at one step of an offloaded attachment's life."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from flue_sqla import AttachmentRef, Flue, FlueSettings
from flue_sqla.artifacts import AttachmentOffload
from tests.attachments.conftest import ABOVE, CONVERSATION, LARGE, PATH


def die(*_: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def main(url: str, folder: str, step: str) -> None:
    flue = Flue(url, settings=FlueSettings(artifacts=folder, offload_attachments_above=ABOVE))
    if step == "removed":
        AttachmentOffload.erase = die  # type: ignore[method-assign]
        flue.prune(instances=[("assistant", "agent-1")])
    if step == "uploaded":
        upload = AttachmentOffload.upload
        AttachmentOffload.upload = lambda *arguments: die(upload(*arguments))  # type: ignore[method-assign]
    flue.attachments.put(PATH, AttachmentRef.of("after", "image/png", LARGE), LARGE, CONVERSATION)
    die()


if __name__ == "__main__":
    main(*sys.argv[1:])
