"""Sets up logging: structlog and the standard library's loggers write to standard error in one format.

Contract: `configure_logs` is called once, by the command line, and by nothing that is imported. A line is readable text
in a terminal and one JSON object otherwise. `agent` and `syscall` of a line come from the logger they were bound to or
from `log_context`; in JSON both keys are always there, null where a line belongs to none.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

# Libraries that tell at INFO what only their own developers want to read.
_CHATTY = ("asyncio", "httpcore", "httpx", "httpx2", "huggingface_hub", "urllib3", "filelock")


def configure_logs(level: Level = "warning", form: Format = "auto", stream: TextIO | None = None) -> None:
    """Routes all logs to one stream.

    Args:
        level: least level of a line.
        form: "auto" is readable text if the stream is a terminal, else JSON.
        stream: where to write; None is standard error, looked up for each line, so that a live display that stands
            in for it keeps lines and display apart.
    """
    terminal = (stream or sys.stderr).isatty()
    readable = form == "console" or (form == "auto" and terminal)
    number = logging.getLevelNamesMapping()[level.upper()]
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if readable else "iso", utc=not readable),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Processor]
    if readable:
        last = [structlog.dev.ConsoleRenderer(colors=terminal)]
    else:
        last = [structlog.processors.format_exc_info, _name_owner, structlog.processors.JSONRenderer(default=str)]
    handler = logging.StreamHandler(stream) if stream else StandardErrorHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level, *common, structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )  # fmt: skip


@contextmanager
def log_context(*, agent: str | None = None, syscall: int | str | None = None) -> Iterator[None]:
    """Adds the agent's name and the syscall's id to every line logged inside, in this task and those it starts."""
    given = {"agent": agent, "syscall": syscall}
    with structlog.contextvars.bound_contextvars(**{key: value for key, value in given.items() if value is not None}):
        yield


class StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at the time of each line."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        raise AttributeError("this handler always writes to sys.stderr")


def _name_owner(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event.setdefault("agent", None)
    event.setdefault("syscall", None)
    return event
