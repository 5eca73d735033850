"""Opening databases, schema versions, and the thread that a store runs on."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aios_actors.kernel.database import DatabaseUnusable, StoreThread, check_text, open_database
from aios_actors.syscalls.errors import InvalidArgument

FIRST = ("CREATE TABLE t (a INTEGER)",)
SECOND = ("ALTER TABLE t ADD COLUMN b INTEGER", "INSERT INTO t VALUES (1, 2)")


def test_makes_folder_and_schema_and_migrates(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.db"
    open_database(path, [FIRST]).close()
    connection = open_database(path, [FIRST, SECOND])
    assert connection.execute("SELECT * FROM t").fetchall() == [(1, 2)]
    assert connection.pragma("journal_mode") == "wal"
    connection.close()
    connection = open_database(path, [FIRST, SECOND])
    assert connection.execute("SELECT * FROM t").fetchall() == [(1, 2)]
    connection.close()


def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_database(path, [FIRST]).close()
    with pytest.raises(Exception, match="syntax error"):
        open_database(path, [FIRST, (*SECOND, "NONSENSE")])
    connection = open_database(path, [FIRST, SECOND])
    assert connection.execute("SELECT * FROM t").fetchall() == [(1, 2)]
    connection.close()


HOLD = """
import sys
from pathlib import Path
from aios_actors.kernel.database import open_database
connection = open_database(Path(sys.argv[1]), [("CREATE TABLE t (a INTEGER)",)])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    environment = {"PYTHONPATH": ":".join(each for each in sys.path if each)}
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(DatabaseUnusable, match=r"x\.db is in use by another process; stop that or"):
            open_database(path, [FIRST], busy_ms=10)
        holder.kill()
    open_database(path, [FIRST]).close()


def test_a_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="is it a file that this user may write"):
        open_database(tmp_path, [FIRST])


def test_check_text() -> None:
    assert check_text("é", "text") == b"\xc3\xa9"
    with pytest.raises(InvalidArgument, match="text should be a string, not int"):
        check_text(3, "text")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="text has a lone surrogate at position 1"):
        check_text("a\udc00", "text")


async def test_store_thread_keeps_order_and_passes_errors_on() -> None:
    thread = StoreThread("store-test")
    done: list[int] = []
    await asyncio.gather(*(thread.run(done.append, number) for number in range(20)))
    assert done == list(range(20))
    with pytest.raises(InvalidArgument):
        await thread.run(check_text, "\ud800", "x")
    assert await thread.run(threading.current_thread) is not threading.current_thread()
    await thread.close(lambda: done.append(99))
    assert done[-1] == 99
    assert not any(each.name.startswith("store-test") for each in threading.enumerate())


async def test_store_thread_ends_even_if_closing_fails() -> None:
    thread = StoreThread("store-test")

    def fail() -> None:
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        await thread.close(fail)
    assert not any(each.name.startswith("store-test") for each in threading.enumerate())
