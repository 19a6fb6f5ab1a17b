"""Processes that tests wait for, as many at a time as there are cores: begun before their tests' turn."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def begun(
    request: pytest.FixtureRequest, **runs: Callable[[Any, Path], Any]
) -> Iterator[dict[tuple[str, Any], Future[Any]]]:
    """runs[test](parameter, a folder of its own) of each test asked for: futures by name and parameter."""
    made = request.getfixturevalue("tmp_path_factory")
    items = [item for item in request.session.items if getattr(item, "originalname", "") in runs]
    asked = [(item.originalname, next(iter(item.callspec.params.values()))) for item in items]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {(test, given): pool.submit(runs[test], given, made.mktemp("run")) for test, given in asked}
        pool.shutdown(cancel_futures=True)
