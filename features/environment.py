"""Before and after scenarios: each has a network of its own, which is gone when it ends."""

import os
from contextlib import ExitStack
from typing import Any

from tests.support import sweep
from tests.support.cluster import Cluster


def before_all(context: Any) -> None:
    sweep.sweep()


def before_feature(context: Any, feature: Any) -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        if os.environ.get("CI"):
            raise RuntimeError("the features need /dev/fuse: they mount for real")
        feature.skip("/dev/fuse cannot be opened by this user: no real mounts")


def before_scenario(context: Any, scenario: Any) -> None:
    context.stack = ExitStack()
    context.cluster = context.stack.enter_context(Cluster())
    context.peers, context.others, context.contents, context.outcome = {}, {}, {}, None


def after_scenario(context: Any, scenario: Any) -> None:
    if scenario.status.has_failed():
        context.cluster.show_logs()
    context.stack.close()


def after_all(context: Any) -> None:
    left = sweep.left_behind()
    if left:
        raise RuntimeError(f"left behind: {left}")
