"""Waiting for what other threads, tasks and processes do (docs/waiting.md)."""

from flue_sqla.listening.following import AsyncFollowing, Following, Step
from flue_sqla.listening.hub import AsyncListening, Listening
from flue_sqla.listening.waiters import AsyncWaiter, Waiter

__all__ = ["AsyncFollowing", "AsyncListening", "AsyncWaiter", "Following", "Listening", "Step", "Waiter"]
