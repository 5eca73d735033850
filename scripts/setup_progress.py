"""Shows what a set-up does while its commands run: phase, elapsed time and the last useful line of their output.

Contract: standard library only; writes to standard error. In a terminal one line is redrawn with a spinner; elsewhere
a line is printed when a command begins and ends, and at most every 20 seconds between. All output goes to a log file.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import IO

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
REDRAW_S = 0.12
PLAIN_INTERVAL_S = 20.0
TAIL_LINES = 25
NINJA_STEP = re.compile(r"\[(\d+)/(\d+)\] (?:Building \w+ object |Linking \w+ \w+ \w+ )?(.*)")
USEFUL = re.compile(
    r"(Collecting|Downloading|Building wheel|Preparing metadata|Installing|Successfully|\*\*\*|error)\b"
)


class SetupFailed(Exception):
    """Raised when the environment cannot be made; the message is for the user."""


class Progress:
    """Runs commands one after the other and shows how they come along.

    Args:
        log_path: file that gets all their output; made anew.
        stream: where to show it.
    """

    def __init__(self, log_path: Path, stream: IO[str] = sys.stderr) -> None:
        self.log_path = log_path
        self._stream = stream
        self._live = stream.isatty()
        self._begun = time.monotonic()
        self._last: deque[str] = deque(maxlen=TAIL_LINES)
        self._title = ""
        self._detail = ""
        self._shown = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        self._log = self.log_path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    def elapsed(self, since: float | None = None) -> str:
        """Time since `since` (a monotonic time; the beginning if None), as `7 s` or `3 min 05 s`."""
        seconds = round(time.monotonic() - (self._begun if since is None else since))
        return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02} s"

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        self._print(text)

    def finish(self, text: str) -> None:
        """Prints the closing line."""
        self._print(text)

    def tail(self) -> str:
        """The last lines of output of the latest command."""
        return "\n".join(self._last)

    def run(self, title: str, command: list[str]) -> int:
        """Runs a command to its end and returns its exit code; an interrupt ends the command too."""
        begun, self._title, self._detail, self._shown = time.monotonic(), title, "", time.monotonic()
        self._last.clear()
        if not self._live:
            self._print(f"{title} ...")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        done = threading.Event()
        painter = threading.Thread(target=self._paint, args=(done, begun), daemon=True)
        if self._live:
            painter.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                self._take(line.rstrip(), begun)
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            done.set()
            if self._live:
                painter.join()
        self._print(f"{title}: {'done' if code == 0 else 'failed'} in {self.elapsed(begun)}")
        return code

    def _take(self, line: str, begun: float) -> None:
        print(line, file=self._log, flush=True)
        if line:
            self._last.append(line)
        if step := NINJA_STEP.search(line):
            self._detail = f"[{step[1]}/{step[2]}] {step[3].rpartition('/')[2]}"
        elif USEFUL.search(line):
            self._detail = line.strip()
        if not self._live and time.monotonic() - self._shown > PLAIN_INTERVAL_S:
            self._shown = time.monotonic()
            self._print(f"{self._title}: {self.elapsed(begun)}, {self._detail}")

    def _paint(self, done: threading.Event, begun: float) -> None:
        """Redraws the line until the command ends; the spinner is a clock, not a wait for anything."""
        turn = 0
        while not done.wait(REDRAW_S):
            turn += 1
            text = f"{SPINNER[turn % len(SPINNER)]} {self._title}  {self.elapsed(begun)}  {self._detail}"
            width = shutil.get_terminal_size().columns - 1
            with self._lock:
                self._stream.write(f"\r\x1b[K{text[:width]}")
                self._stream.flush()

    def _print(self, text: str) -> None:
        with self._lock:
            self._stream.write(f"\r\x1b[K{text}\n" if self._live else f"{text}\n")
            self._stream.flush()
