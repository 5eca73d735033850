"""Log lines: one format for structlog and the standard library, with agent and syscall."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from aios_actors.observe.logs import configure_logs, log_context


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("httpx", "asyncio")}
    yield
    root.handlers, root.level = handlers, level
    for name, each in levels.items():
        logging.getLogger(name).setLevel(each)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_have_agent_and_syscall() -> None:
    out = io.StringIO()
    configure_logs("info", "auto", out)
    log = structlog.get_logger("here")
    with log_context(agent="clerk", syscall=17):
        log.info("wrote", path="notes.txt")
    log.bind(agent="librarian").warning("bound")
    log.error("neither")
    first, second, third = lines(out)
    assert (first["agent"], first["syscall"], first["event"], first["path"]) == ("clerk", 17, "wrote", "notes.txt")
    assert (first["level"], first["logger"]) == ("info", "here")
    assert (second["agent"], second["syscall"]) == ("librarian", None)
    assert (third["agent"], third["syscall"]) == (None, None)
    assert str(first["timestamp"]).endswith("Z")


def test_the_standard_librarys_loggers_come_along() -> None:
    out = io.StringIO()
    configure_logs("warning", "json", out)
    with log_context(agent="clerk"):
        logging.getLogger("other.library").warning("%d things", 3)
    logging.getLogger("other.library").info("quiet")
    (line,) = lines(out)
    assert (line["event"], line["logger"], line["level"], line["agent"]) == (
        "3 things",
        "other.library",
        "warning",
        "clerk",
    )


def test_exceptions_are_one_line() -> None:
    out = io.StringIO()
    configure_logs("error", "json", out)
    try:
        raise ValueError("no luck")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(out)
    assert "ValueError: no luck" in str(line["exception"])


def test_chatty_libraries_are_quiet_at_info() -> None:
    out = io.StringIO()
    configure_logs("info", "json", out)
    logging.getLogger("httpx").info("GET /")
    assert out.getvalue() == ""


def test_console_lines_are_readable() -> None:
    out = io.StringIO()
    configure_logs("info", "console", out)
    structlog.get_logger().info("wrote", agent="clerk", syscall=3)
    text = out.getvalue()
    assert "wrote" in text and "agent=clerk" in text and "syscall=3" in text
    assert "{" not in text and "\x1b" not in text


def test_lines_follow_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logs("warning", "json")
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    structlog.get_logger().warning("to the new one")
    assert lines(later)[0]["event"] == "to the new one"
