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
    request: pytest.FixtureRequest, test: str, run: Callable[[Any, Path], Any]
) -> Iterator[dict[Any, Future[Any]]]:
    """run(parameter, a folder of its own) of each parameter for which the test was asked: its future."""
    made = request.getfixturevalue("tmp_path_factory")
    items = [item for item in request.session.items if getattr(item, "originalname", "") == test]
    asked = [next(iter(item.callspec.params.values())) for item in items]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {parameter: pool.submit(run, parameter, made.mktemp("run")) for parameter in asked}
        pool.shutdown(cancel_futures=True)
