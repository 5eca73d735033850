"""How many sequences a worker on the CPU has depends on what their KV takes of the memory."""

from aios_actors.engine.width import CPU_SEQUENCES, FEWER_CPU_SEQUENCES, cpu_sequences

GIB = 1 << 30


def test_there_are_many_where_their_kv_takes_at_most_a_quarter_of_the_memory() -> None:
    assert cpu_sequences(GIB // 4, memory=16 * GIB) == CPU_SEQUENCES


def test_there_are_fewer_where_it_would_take_more() -> None:
    assert cpu_sequences(GIB // 4 + 1, memory=16 * GIB) == FEWER_CPU_SEQUENCES


def test_a_model_without_a_kv_cache_gets_many() -> None:
    assert cpu_sequences(0) == CPU_SEQUENCES
