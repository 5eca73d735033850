"""The worker process: `python -m aios_actors.engine.worker --socket PATH`.

Contract: connects to the node's Unix socket, says `Hello` with the token from the environment variable
`AIOS_WORKER_TOKEN` and serves that connection. It ends with 0 after `Shutdown` and when the node closes the connection
or is dead, with 1 after `StartFailed` (the frame says why) and with 2 after a broken frame. Logs go to stderr.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys

import structlog

from aios_actors.engine.protocol import TOKEN_VARIABLE
from aios_actors.observe.logs import configure_logs

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Parse the command line, connect, serve; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aios_actors.engine.worker", description="A worker of a node.")
    parser.add_argument("--socket", required=True, help="the node's Unix socket")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", default="auto", choices=("auto", "console", "json"))
    arguments = parser.parse_args()
    die_with_parent()
    # Ctrl-C and a service manager's SIGTERM reach the whole group, but the node drains with its workers still at work.
    # It ends them by Shutdown, by closing the connection or by SIGKILL.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    configure_logs(arguments.log_level, arguments.log_format)
    # Only now: it loads llama.cpp, which takes a while, and a signal meanwhile must find this process prepared.
    from aios_actors.engine.serving import EXIT_DONE, Worker

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(arguments.socket)
    except OSError as error:  # it was killed while this process started
        structlog.get_logger("worker").warning("there is no node", socket=arguments.socket, error=error.strerror)
        return EXIT_DONE
    return Worker(connection).serve(os.environ.pop(TOKEN_VARIABLE, ""))


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies; elsewhere the closed connection does it a little later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
