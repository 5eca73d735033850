"""Cutting and joining llama.cpp's serialised state of one sequence, cell by cell.

Contract: `cut` takes the first cells off a state, `join` puts states of neighbouring cells together; the results are
states that llama.cpp itself would have written. So a prefix that several conversations share is kept once and each
keeps only its tail, also with split KV streams, where llama.cpp can neither copy a part of a sequence nor restore one
below a prefix (`seq_cp` between streams takes whole buffers, `set_data` empties the sequence first).

The layout is that of `llama_kv_cache::state_write` (llama.cpp of 2026): magic, sequence, stream count; for each
stream its cell count and, where that is not 0, position and sequence of each cell, then a matrix for the keys of each
layer and one for the values, whose rows run over the cells (values may be transposed). What does not read as exactly
that, such as the state of a recurrent model or of sliding-window layers, raises `Indivisible`: it can be kept and
restored only as a whole.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MAGIC = 0xAF143CD8
_HEAD = struct.Struct("<IiI")  # magic, sequence, streams
_COUNT = struct.Struct("<I")
_TENSORS = struct.Struct("<II")  # values transposed?, layers
_ROWS = struct.Struct("<iQ")  # element type, bytes of a row
_COLUMNS = struct.Struct("<iII")  # element type, bytes of an element, elements of a cell
_CELL = np.dtype([("position", "<i4"), ("sequences", "<u4"), ("sequence", "<i4")])
_MOST_STREAMS, _MOST_LAYERS = 256, 4096


class Indivisible(Exception):
    """Raised for a state that does not consist of one complete row of cells."""


@dataclass(frozen=True, slots=True)
class _Matrix:
    """One tensor's part: `lines` runs over all cells, `unit` bytes for each cell."""

    header: memoryview
    lines: int
    unit: int
    data: memoryview

    def cells(self, first: int, end: int) -> npt.NDArray[np.uint8]:
        """The bytes of some cells; shape (lines, bytes)."""
        matrix = np.frombuffer(self.data, np.uint8).reshape(self.lines, -1)
        return matrix[:, first * self.unit : end * self.unit]

    def sorted(self, order: npt.NDArray[np.intp]) -> _Matrix:
        """The same with its cells in another order."""
        matrix = np.frombuffer(self.data, np.uint8).reshape(self.lines, len(order), self.unit)
        return _Matrix(self.header, self.lines, self.unit, memoryview(matrix[:, order].tobytes()))


@dataclass(frozen=True, slots=True)
class _State:
    """A state taken apart."""

    head: memoryview
    streams: int
    stream: int
    cells: npt.NDArray[np.void]
    tensors: memoryview
    matrices: list[_Matrix]


def positions(state: memoryview) -> range:
    """The positions of a state's cells. Raises `Indivisible`."""
    cells = _parse(state).cells
    return range(int(cells["position"][0]), int(cells["position"][-1]) + 1)


def cut(state: memoryview, first: int) -> memoryview:
    """The state without its first `first` cells. Raises `Indivisible`."""
    parsed = _parse(state)
    return _build([(parsed, first, len(parsed.cells))])


def join(parts: Sequence[tuple[memoryview, int]]) -> memoryview:
    """One state of several; of each the first so many cells, which must follow one another. Raises `Indivisible`."""
    return _build([(_parse(state), 0, count) for state, count in parts])


def _parse(state: memoryview) -> _State:
    try:
        return _take_apart(state)
    except (struct.error, ValueError) as error:
        raise Indivisible(f"not one row of cells: {error}") from error


def _take_apart(state: memoryview) -> _State:
    magic, _, streams = _HEAD.unpack_from(state)
    if magic != _MAGIC or not 0 < streams <= _MOST_STREAMS:
        raise ValueError("it begins with something else")
    at, stream, count = _HEAD.size, -1, 0
    while count == 0:
        stream += 1
        if stream == streams:
            raise ValueError("it has no cells")
        (count,) = _COUNT.unpack_from(state, at)
        at += _COUNT.size
    end = len(state) - (streams - stream - 1) * _COUNT.size
    if any(state[end:]):
        raise ValueError("it has cells in more than one stream")
    cells = np.frombuffer(state, _CELL, count, at)
    at += cells.nbytes
    order = np.argsort(cells["position"], kind="stable")
    if (np.diff(cells["position"][order]) != 1).any() or (cells["sequences"] != 1).any():
        raise ValueError("its cells are not in a row")
    transposed, layers = _TENSORS.unpack_from(state, at)
    tensors = state[at : at + _TENSORS.size]
    at += _TENSORS.size
    if transposed > 1 or layers > _MOST_LAYERS:
        raise ValueError("it has other parts")
    matrices: list[_Matrix] = []
    while at < end or len(matrices) < layers:
        matrices.append(_matrix(state[at:end], count, columns=bool(transposed) and len(matrices) >= layers))
        at += len(matrices[-1].header) + len(matrices[-1].data)
    if (np.diff(order) != 1).any():  # a unified cache gives a sequence whatever cells are free
        cells, matrices = cells[order], [matrix.sorted(order) for matrix in matrices]
    return _State(state[: _HEAD.size], streams, stream, cells, tensors, matrices)


def _matrix(rest: memoryview, count: int, *, columns: bool) -> _Matrix:
    """The matrix at the beginning of `rest`."""
    if columns:
        _, unit, lines = _COLUMNS.unpack_from(rest)
        header = _COLUMNS.size
    else:
        _, unit = _ROWS.unpack_from(rest)
        lines, header = 1, _ROWS.size
    size = lines * unit * count
    if size == 0 or header + size > len(rest):
        raise ValueError("its matrices do not fill it")
    return _Matrix(rest[:header], lines, unit, rest[header : header + size])


def _build(parts: list[tuple[_State, int, int]]) -> memoryview:
    """A state of the cells `first` to `end` of each part, with the framing of the last one."""
    last = parts[-1][0]
    cells = np.concatenate([part.cells[first:end] for part, first, end in parts])
    if (np.diff(cells["position"]) != 1).any() or any(len(p.matrices) != len(last.matrices) for p, _, _ in parts):
        raise Indivisible("the states do not follow one another")
    pieces: list[bytes | memoryview | npt.NDArray[np.uint8]] = [
        last.head,
        bytes(_COUNT.size * last.stream) + _COUNT.pack(len(cells)),
        cells.tobytes(),
        last.tensors,
    ]
    for index, matrix in enumerate(last.matrices):
        if any(part.matrices[index].header != matrix.header for part, _, _ in parts):
            raise Indivisible("the states are of different caches")
        pieces.append(matrix.header)
        columns = [part.matrices[index].cells(first, end) for part, first, end in parts]
        pieces.extend(columns if matrix.lines == 1 else [np.concatenate(columns, axis=1)])
    pieces.append(bytes(_COUNT.size * (last.streams - last.stream - 1)))
    return memoryview(b"".join(piece.data if isinstance(piece, np.ndarray) else piece for piece in pieces))
