"""A random-weight model of 140,000 parameters, written once a session, and engines on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from aios_actors.engine.loop import Engine
from aios_actors.engine.model import Model, load
from aios_actors.engine.spec import WorkerSpec
from scripts.bench.make_model import SHAPES, write


@pytest.fixture(scope="module", autouse=True)
def quiet_logs() -> Iterator[None]:
    """llama.cpp writes hundreds of debug lines for each model."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the tiny model."""
    path: Path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write(SHAPES["tiny"], path, name="tiny")
    return path


@pytest.fixture
def make_model(tiny_gguf: Path) -> Iterator[Callable[..., Model]]:
    """Loads the tiny model with settings of one's own."""
    models: list[Model] = []

    def make(**settings: object) -> Model:
        settings = {"context": 512, "sequences": 4, "threads": 1} | settings
        models.append(load(WorkerSpec(model_path=str(tiny_gguf), **settings)))  # type: ignore[arg-type]
        return models[-1]

    yield make
    for model in models:
        model.close()


@pytest.fixture
def make_engine(make_model: Callable[..., Model]) -> Callable[..., Engine]:
    """An engine on the tiny model with settings of one's own."""
    return lambda cost=None, **settings: Engine(make_model(**settings), cost=cost)


@pytest.fixture(scope="module")
def model(tiny_gguf: Path) -> Iterator[Model]:
    """One tiny model for tests that do not touch its KV cache, or start engines of their own on it."""
    loaded = load(WorkerSpec(model_path=str(tiny_gguf), context=512, sequences=4, threads=1))
    yield loaded
    loaded.close()
