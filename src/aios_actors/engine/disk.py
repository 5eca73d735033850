"""The disk tier of KV pages: one file of fixed blocks that has no name.

Contract: `SwapFile` stores byte strings within a budget and gives them back unchanged or not at all. The file is
unlinked as soon as it is open, so whatever happens to the process, SIGKILL included, nothing is left behind and one
descriptor is all it holds. Blocks are reused, so there is no fragmentation to tidy up. A disk that is full or fails
costs the page and is logged; it never raises. Each page is preceded by a header that binds it to what it was saved
from: a page that was damaged, misplaced or written by another model is refused.
"""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

BLOCK = 64 << 10
_MAGIC, _VERSION = b"AIOSKV", 1
_HEADER = struct.Struct("<6sH16sQI")  # magic, version, binding, length, checksum
_PIECE = 4 << 10


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a page lies: its blocks in order, and the length of its content in bytes."""

    blocks: tuple[int, ...]
    length: int


class SwapFile:
    """Pages in one unlinked file of `folder`, together at most `budget` bytes."""

    def __init__(self, folder: str, budget: int) -> None:
        self._log = structlog.get_logger("swap")
        self._capacity = budget // BLOCK
        self._free = list(range(self._capacity - 1, -1, -1))  # the last is taken first, so the file grows slowly
        self._file = self._open(folder) if self._capacity else None
        if self._file is None:
            self._free = []

    def fits(self, length: int) -> bool:
        """Whether `length` bytes of content find room now."""
        return _blocks(length) <= len(self._free)

    def could_fit(self, length: int) -> bool:
        """Whether `length` bytes of content would find room if all others left."""
        return self._file is not None and _blocks(length) <= self._capacity

    @property
    def used(self) -> int:
        """Bytes in use, whole blocks counted."""
        return (self._capacity - len(self._free)) * BLOCK if self._file is not None else 0

    def write(self, content: memoryview, binding: bytes) -> Extent | None:
        """Store `content`, bound to 16 bytes of `binding`; None if there is no room or the disk fails."""
        if self._file is None or not self.fits(len(content)):
            return None
        extent = Extent(tuple(sorted(self._free.pop() for _ in range(_blocks(len(content))))), len(content))
        header = _HEADER.pack(_MAGIC, _VERSION, binding, len(content), checksum(content))
        try:
            for offset, start, end in _runs(extent):
                first = header if start == 0 else b""
                body = content[max(start - _HEADER.size, 0) : end - _HEADER.size]
                written = os.pwritev(self._file.fileno(), [first, body], offset)
                if written != end - start:
                    raise OSError(f"only {written} of {end - start} bytes were written")
        except OSError as error:
            self._log.warning("page not written", bytes=len(content), error=str(error))
            self.free(extent)
            return None
        return extent

    def read(self, extent: Extent, binding: bytes) -> memoryview | None:
        """The content, if it is undamaged and bound to `binding`."""
        if self._file is None:
            return None
        page = memoryview(bytearray(_HEADER.size + extent.length))
        try:
            for offset, start, end in _runs(extent):
                if os.preadv(self._file.fileno(), [page[start:end]], offset) != end - start:
                    raise OSError("the file is shorter than the page")
        except OSError as error:
            self._log.warning("page not read", bytes=extent.length, error=str(error))
            return None
        content = page[_HEADER.size :]
        expected = (_MAGIC, _VERSION, binding, extent.length, checksum(content))
        if _HEADER.unpack_from(page) != expected:
            self._log.warning(
                "page refused", bytes=extent.length, error="it is damaged or was written by another model"
            )
            return None
        return content

    def free(self, extent: Extent) -> None:
        """Give the blocks of a page back."""
        self._free.extend(reversed(extent.blocks))

    def close(self) -> None:
        """Close the file, which ends it."""
        if self._file is not None:
            self._file.close()
            self._file, self._free = None, []

    def _open(self, folder: str) -> io.FileIO | None:
        try:
            if folder:
                Path(folder).mkdir(parents=True, exist_ok=True)
            # On Linux made by O_TMPFILE: it never had a name.
            return tempfile.TemporaryFile(buffering=0, dir=folder or None)
        except OSError as error:
            self._log.warning("no disk tier", folder=folder, error=str(error))
            return None


def checksum(content: memoryview) -> int:
    """Tells damaged content from sound content, at the speed of memory.

    A CRC-32 over the 64-bit sums of pieces of 4 KiB: it finds any change of one word, and pieces that changed places.
    At over 10 GB/s it costs a tenth of saving the page; CRC-32 over all bytes would cost more than the saving.
    """
    data = np.frombuffer(content, np.uint8)
    whole = len(data) // _PIECE * _PIECE
    sums = data[:whole].view(np.uint64).reshape(-1, _PIECE // 8).sum(axis=1, dtype=np.uint64)
    return zlib.crc32(data[whole:].tobytes(), zlib.crc32(sums.tobytes()))


def _blocks(length: int) -> int:
    return -(-(length + _HEADER.size) // BLOCK)


def _runs(extent: Extent) -> Iterator[tuple[int, int, int]]:
    """Neighbouring blocks together: offset in the file, and the part of the page (header included) that lies there."""
    total, start = extent.length + _HEADER.size, 0
    first = 0
    for index, block in enumerate(extent.blocks):
        if index + 1 == len(extent.blocks) or extent.blocks[index + 1] != block + 1:
            end = min((index + 1) * BLOCK, total)
            yield extent.blocks[first] * BLOCK, start, end
            start, first = end, index + 1
