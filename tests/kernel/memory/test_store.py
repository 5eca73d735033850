"""Notes in SQLite: isolation, search that takes any text, and what outlives the process."""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aios_actors.kernel.database import DatabaseUnusable
from aios_actors.kernel.memory.store import TEXT_LIMIT, MemoryStore
from aios_actors.syscalls.errors import InvalidArgument, NotFound, QuotaExceeded

ENCODABLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    clock = iter(range(1, 1_000_000))
    store = MemoryStore(tmp_path / "memory.db", now=lambda: float(next(clock)))
    yield store
    store.close()


def texts(store: MemoryStore, query: str, owner: str = "a", limit: int = 5, tags: tuple[str, ...] = ()) -> list[str]:
    return [note.text for note in store.search(owner, query, limit, tags)]


def test_add_get_update_remove(store: MemoryStore) -> None:
    note = store.add("a", "tea at four", ["plan"])
    assert (note.text, note.tags, note.created, note.updated) == ("tea at four", ("plan",), 1.0, 1.0)
    assert store.get("a", note.id) == note
    changed = store.update("a", note.id, "tea at five")
    assert (changed.text, changed.tags, changed.created, changed.updated) == ("tea at five", ("plan",), 1.0, 2.0)
    assert store.update("a", note.id, "tea at six", []).tags == ()
    store.remove("a", note.id)
    with pytest.raises(NotFound, match=f"a has no note {note.id}"):
        store.get("a", note.id)
    assert store.add("a", "again").id > note.id


def test_finds_the_fact_among_distractors(store: MemoryStore) -> None:
    wanted = "The door code of Miravel is 8342."
    store.add("a", "The door code of Tamrin is 1177.")
    store.add("a", wanted)
    store.add("a", "Miravel likes green doors and codes in Python.")
    for number in range(50):
        store.add("a", f"The locker number of Zorvek-{number} is {number * 7}.")
    assert texts(store, "door code of Miravel")[0] == wanted
    assert texts(store, "What is the door code of Miravel?")[0] == wanted
    assert texts(store, "8342") == [wanted]


def test_fits_prefixes_stems_and_accents(store: MemoryStore) -> None:
    store.add("a", "Three cafés opened their doors.")
    store.add("a", "Nothing of that sort.")
    for query in ("cafe", "CAFÉS", "cafe\u0301", "open", "door", "openings"):
        assert texts(store, query) == ["Three cafés opened their doors."], query


def test_whole_words_rank_before_prefixes(store: MemoryStore) -> None:
    store.add("a", "port")
    store.add("a", "portal")
    assert texts(store, "port") == ["port", "portal"]


def test_falls_back_to_parts_of_words_and_slips(store: MemoryStore) -> None:
    store.add("a", "The door code of Miravel is 8342.")
    store.add("a", "検索エンジンの話")
    store.add("a", "use -> and => in rules")
    assert texts(store, "iravel") == ["The door code of Miravel is 8342."]
    assert texts(store, "Mirovel") == ["The door code of Miravel is 8342."]
    assert texts(store, "エンジン") == ["検索エンジンの話"]
    assert texts(store, "検索") == ["検索エンジンの話"]
    assert texts(store, "=>") == ["use -> and => in rules"]
    assert texts(store, "xylophone") == []


def test_a_misspelt_name_among_notes_alike(store: MemoryStore) -> None:
    for name in ("Tamrin", "Miravel", "Zorvek", "Quobis"):
        store.add("a", f"The door code of {name} is {len(name) * 1111}.")
    assert texts(store, "door code of Mirvael")[0] == "The door code of Miravel is 7777."
    assert texts(store, "door code of Zorvec", limit=1) == ["The door code of Zorvek is 6666."]


def test_scores_fall(store: MemoryStore) -> None:
    for text in ("red apple pie", "red apple", "red", "green"):
        store.add("a", text)
    scores = [note.score for note in store.search("a", "red apple pie")]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    assert min(scores) > 0


def test_equally_good_notes_come_newest_first(store: MemoryStore) -> None:
    first = store.add("a", "same words")
    store.add("a", "same words")
    assert [note.id for note in store.search("a", "same")] == [first.id + 1, first.id]
    store.update("a", first.id, "same words")
    assert [note.id for note in store.search("a", "same")] == [first.id, first.id + 1]


def test_empty_query_lists_the_newest(store: MemoryStore) -> None:
    for number in range(7):
        store.add("a", f"note {number}", ["even"] if number % 2 == 0 else [])
    assert texts(store, " ", limit=3) == ["note 6", "note 5", "note 4"]
    assert texts(store, "", tags=("even",)) == ["note 6", "note 4", "note 2", "note 0"]


def test_tags_must_all_be_there(store: MemoryStore) -> None:
    store.add("a", "red apple", ["fruit", "red"])
    store.add("a", "red car", ["red"])
    store.add("a", "green apple", ["fruit"])
    assert texts(store, "red", tags=("red", "fruit")) == ["red apple"]
    assert texts(store, "ppl", tags=("red",)) == ["red apple"]


@pytest.mark.parametrize("query", ["secret", "ecre", "", "se", 'scope : "1"', "words", "text"])
def test_another_owners_notes_are_never_found(store: MemoryStore, query: str) -> None:
    store.add("b", "the secret words of the text")
    assert texts(store, query, owner="a") == []


def test_another_owners_notes_cannot_be_touched(store: MemoryStore) -> None:
    note = store.add("b", "secret")
    for attempt in (
        lambda: store.get("a", note.id),
        lambda: store.update("a", note.id, "mine"),
        lambda: store.remove("a", note.id),
    ):
        with pytest.raises(NotFound, match="a has no note"):
            attempt()
    assert store.get("b", note.id) == note


def test_changed_and_removed_notes_leave_the_index(store: MemoryStore) -> None:
    note = store.add("a", "ancient wording")
    store.update("a", note.id, "fresh text")
    assert texts(store, "ancient") == texts(store, "ncien") == []
    assert texts(store, "fresh") == ["fresh text"]
    store.remove("a", note.id)
    assert texts(store, "fresh") == texts(store, "resh") == []


@SHARED
@given(text=ENCODABLE.filter(str.strip), query=st.text(max_size=80))
@example(text="x", query='a" OR "b')
@example(text="x", query='NEAR(a b, 3) AND {text} : ^c* -d "')
@example(text="a\x00b", query="\x00")
@example(text="x", query="a " * 2000)
@example(text="x", query="\ud800")
def test_any_query_is_answered(store: MemoryStore, text: str, query: str) -> None:
    owner = hashlib.sha256(repr((text, query)).encode()).hexdigest()
    store.add(owner, text)
    try:
        found = store.search(owner, query)
    except InvalidArgument:
        assert any("\ud800" <= character <= "\udfff" for character in query)
    else:
        # The owner has nothing else; an example that is drawn again adds its text again.
        assert {note.text for note in found} <= {text}


@SHARED
@given(words=st.lists(st.from_regex(r"[a-zA-Z0-9]{1,12}", fullmatch=True), min_size=1, max_size=8), data=st.data())
def test_every_word_of_a_note_finds_it(store: MemoryStore, words: list[str], data: st.DataObject) -> None:
    note = store.add("a", " ".join(words))
    word = data.draw(st.sampled_from(words))
    found = store.search("a", word.swapcase(), limit=100)
    assert note.id in {each.id for each in found} or len(found) == 100
    store.remove("a", note.id)


@SHARED
@given(text=ENCODABLE.filter(lambda text: len(text.strip()) > 0))
@example(text=":\x00:")
def test_the_whole_text_of_a_note_finds_it(store: MemoryStore, text: str) -> None:
    note = store.add("a", text)
    assert note.id in {each.id for each in store.search("a", text, limit=100)}
    store.remove("a", note.id)


def test_a_new_store_finds_what_the_old_one_had(tmp_path: Path) -> None:
    old = MemoryStore(tmp_path / "memory.db")
    note = old.add("a", "the door code is 8342", ["code"])
    old.close()
    new = MemoryStore(tmp_path / "memory.db")
    assert new.get("a", note.id) == note
    assert [each.id for each in new.search("a", "door code", tags=["code"])] == [note.id]
    new.close()


def test_quota_counts_the_owners_notes(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "memory.db", quota=2)
    first = store.add("a", "one")
    store.add("a", "two")
    store.add("b", "one")
    with pytest.raises(QuotaExceeded, match="a has 2 notes"):
        store.add("a", "three")
    store.remove("a", first.id)
    store.add("a", "three")
    store.close()
    again = MemoryStore(tmp_path / "memory.db", quota=2)
    with pytest.raises(QuotaExceeded):
        again.add("a", "four")
    again.close()


@pytest.mark.parametrize(
    ("text", "tags", "message"),
    [
        ("  \n", [], "text is empty"),
        ("\ud800", [], "lone surrogate at position 0"),
        ("x" * (TEXT_LIMIT + 1), [], "at most 65536"),
        ("x", [""], "1 to 255 bytes"),
        ("x", [str(number) for number in range(33)], "33 tags are too many"),
    ],
)
def test_refuses_bad_notes(store: MemoryStore, text: str, tags: list[str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        store.add("a", text, tags)
    assert store.search("a", "") == ()


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_refuses_bad_limits(store: MemoryStore, limit: int) -> None:
    with pytest.raises(InvalidArgument, match="limit should be 1 to 100"):
        store.search("a", "x", limit)


@pytest.mark.parametrize("id", [-1, 2**63])
def test_refuses_impossible_ids(store: MemoryStore, id: int) -> None:
    with pytest.raises(InvalidArgument, match="number of a note"):
        store.get("a", id)


def test_refuses_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    path.write_text("Lorem ipsum dolor sit amet. " * 100)
    with pytest.raises(DatabaseUnusable, match="not a database"):
        MemoryStore(path)


def test_refuses_a_database_of_a_newer_release(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatabaseUnusable, match=r"schema version 99.*newer release"):
        MemoryStore(path)
