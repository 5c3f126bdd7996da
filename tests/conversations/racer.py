"""One of several processes that take a stream away from each other: ``python -m tests.conversations.racer URL NAME ROUNDS``.

Prints one JSON line per acknowledged append: offset, epoch, producer sequence, text.
"""

from __future__ import annotations

import json
import random
import sys

from flue_sqla import Flue, FlueSettings
from flue_sqla.errors import ConversationStreamStoreError
from tests.conversations.streams import AGENT, INSTANCE, PATH, STALE, append


def race(flue: Flue, name: str, rounds: int) -> None:
    flue.conversations.create(PATH, AGENT, INSTANCE)
    random.seed(name)
    for number in range(rounds):
        claim = flue.conversations.acquire_producer(PATH, name if number % 2 else "shared")
        for sequence in range(random.randint(1, 6)):
            text = f"{name}-{number}-{sequence}"
            try:
                offset = append(flue, claim, {"id": text}, sequence=sequence)
            except ConversationStreamStoreError as error:
                if error.reason != STALE:
                    raise
                break
            print(json.dumps([offset, claim.producer_epoch, sequence, text]))


if __name__ == "__main__":
    url, name, rounds = sys.argv[1:]
    with Flue(url, settings=FlueSettings(migrate="off")) as flue:
        race(flue, name, int(rounds))
