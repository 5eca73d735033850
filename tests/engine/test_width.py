"""How many sequences a worker on the CPU has depends on what their KV takes of the memory."""

import pytest

from aios_actors.engine.width import CPU_SEQUENCES, cpu_sequences, places

GIB = 1 << 30


@pytest.mark.parametrize("sequences", CPU_SEQUENCES)
def test_there_are_as_many_as_a_quarter_of_the_memory_holds_the_kv_of(sequences: int) -> None:
    assert cpu_sequences(GIB, memory=4 * GIB * sequences) == sequences
    assert cpu_sequences(GIB + 1, memory=4 * GIB * sequences) == max(sequences - 8, CPU_SEQUENCES[-1])


def test_a_model_without_a_kv_cache_gets_many() -> None:
    assert cpu_sequences(0) == CPU_SEQUENCES[0]


@pytest.mark.parametrize(("sequences", "expected"), [(1, 4), (24, 96), (64, 256), (100, 256), (256, 256)])
def test_more_conversations_have_a_place_than_run(sequences: int, expected: int) -> None:
    assert places(sequences) == expected
