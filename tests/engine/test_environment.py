"""A worker's environment says how its threads wait and how its memory is mapped, unless the user decided otherwise."""

import pytest

from aios_actors.engine.environment import BRIEF_SPINS, HUGE_PAGES, worker_environment


def test_threads_spin_briefly_and_memory_comes_in_huge_pages() -> None:
    assert worker_environment({"PATH": "/bin"}) == BRIEF_SPINS | HUGE_PAGES


@pytest.mark.parametrize("outer", [{"GOMP_SPINCOUNT": "0"}, {"OMP_WAIT_POLICY": "active"}])
def test_how_threads_wait_is_the_users_choice(outer: dict[str, str]) -> None:
    assert worker_environment(outer) == HUGE_PAGES


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("glibc.malloc.hugetlb=0", None),
        ("glibc.malloc.check=1:glibc.malloc.hugetlb=2", None),
        ("glibc.malloc.check=1", "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        ("", "glibc.malloc.hugetlb=1"),
    ],
)
def test_tunables_of_the_user_stay(before: str, after: str | None) -> None:
    assert worker_environment({"GLIBC_TUNABLES": before}).get("GLIBC_TUNABLES") == after
