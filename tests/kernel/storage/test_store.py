"""Versioned files against a model of dicts and lists; paths, quota, and what outlives the process."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aios_actors.kernel.storage.paths import check_path
from aios_actors.kernel.storage.store import ENTRY, FileStore
from aios_actors.syscalls.errors import InvalidArgument, NotFound, QuotaExceeded


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    clock = iter(range(1, 1_000_000))
    store = FileStore(tmp_path / "storage.db", now=lambda: float(next(clock)))
    yield store
    store.close()


def test_a_file_from_making_to_rollback(store: FileStore) -> None:
    made = store.create("a", "notes/today.txt", "one")
    assert (made.path, made.version, made.size, made.modified) == ("notes/today.txt", 1, 3, 1.0)
    assert made.digest == hashlib.sha256(b"one").hexdigest()
    assert store.write("a", "notes/today.txt", "zwölf").size == 6
    assert store.append("a", "notes/today.txt", "drei").version == 3
    assert store.read("a", "notes/today.txt") == "zwölf\ndrei"
    assert store.read("a", "notes/today.txt", 1) == "one"
    gone = store.delete("a", "notes/today.txt")
    assert (gone.version, gone.deleted, gone.size, gone.digest) == (4, True, 0, "")
    assert store.list("a") == ()
    back = store.rollback("a", "notes/today.txt", 2)
    assert (back.version, store.read("a", "notes/today.txt")) == (5, "zwölf")
    assert [info.version for info in store.history("a", "notes/today.txt")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("before", "after"), [("", "line"), ("x", "x\nline"), ("x\n", "x\nline"), ("x\n\n", "x\n\nline")]
)
def test_append_starts_a_new_line(store: FileStore, before: str, after: str) -> None:
    store.write("a", "f", before)
    store.append("a", "f", "line")
    assert store.read("a", "f") == after


def test_append_makes_a_file(store: FileStore) -> None:
    store.append("a", "f", "line")
    store.delete("a", "f")
    store.append("a", "f", "other")
    assert store.read("a", "f") == "other"


def test_list_goes_by_prefix(store: FileStore) -> None:
    for path in ("b/2", "b/1", "a", "b%", "bé"):
        store.write("x", path, "")
    store.write("y", "b/3", "")
    assert [info.path for info in store.list("x")] == ["a", "b%", "b/1", "b/2", "bé"]
    assert [info.path for info in store.list("x", "b/")] == ["b/1", "b/2"]
    assert [info.path for info in store.list("x", "b%")] == ["b%"]


def test_files_of_another_owner_are_not_there(store: FileStore) -> None:
    store.write("b", "secret", "x")
    operations: list[Callable[[], object]] = [
        lambda: store.read("a", "secret"),
        lambda: store.read("a", "secret", 1),
        lambda: store.delete("a", "secret"),
        lambda: store.history("a", "secret"),
        lambda: store.rollback("a", "secret", 1),
    ]
    for operation in operations:
        with pytest.raises(NotFound, match='no file named "secret"'):
            operation()
    store.create("a", "secret", "mine")
    assert store.read("b", "secret") == "x"


def test_errors_say_what_is_wrong(store: FileStore) -> None:
    store.write("a", "f", "1")
    with pytest.raises(InvalidArgument, match='there is a file named "f" already'):
        store.create("a", "f")
    with pytest.raises(NotFound, match='"f" has no version 7; kept are 1 to 1'):
        store.read("a", "f", 7)
    store.delete("a", "f")
    with pytest.raises(NotFound, match='no file named "f"'):
        store.read("a", "f")
    with pytest.raises(NotFound, match='"f" was deleted in version 2'):
        store.rollback("a", "f", 2)
    with pytest.raises(InvalidArgument, match="content has a lone surrogate at position 2"):
        store.write("a", "f", "ab\udfff")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("../up", '".."'),
        ("a/../b", '".."'),
        ("./a", '"."'),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("a\\b", "backslash"),
        ("é" * 128, "more than 255 bytes"),
        ("a/" * 600 + "b", "at most 1024"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_bad_paths_are_refused_everywhere(store: FileStore, path: str, rule: str) -> None:
    operations: list[Callable[[], object]] = [
        lambda: store.create("a", path),
        lambda: store.write("a", path, ""),
        lambda: store.append("a", path, ""),
        lambda: store.read("a", path),
        lambda: store.delete("a", path),
        lambda: store.history("a", path),
        lambda: store.rollback("a", path, 1),
    ]
    for operation in operations:
        with pytest.raises(InvalidArgument, match=rule):
            operation()


@settings(deadline=None)
@given(st.text())
def test_a_good_path_stays_below_any_root(path: str) -> None:
    try:
        check_path(path)
    except InvalidArgument:
        return
    root = Path("/root")
    assert (root / path).resolve().is_relative_to(root)
    assert all(0 < len(part.encode()) <= 255 for part in path.split("/"))


def test_quota_refuses_what_cannot_fit(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "storage.db", quota=2 * ENTRY + 100)
    store.write("a", "one", "x" * 60)
    with pytest.raises(QuotaExceeded, match=r'"two" with 41 bytes does not fit: the files of a would take 357 bytes'):
        store.write("a", "two", "x" * 41)
    assert [info.path for info in store.list("a")] == ["one"]
    store.write("b", "two", "x" * 41)
    store.write("a", "two", "x" * 40)
    assert store.usage("a") == (356, 356)
    store.close()


def test_old_versions_make_room(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "storage.db", quota=3 * ENTRY + 30)
    for number in range(10):
        store.write("a", "f", str(number) * 10)
    assert [info.version for info in store.history("a", "f")] == [8, 9, 10]
    assert store.read("a", "f", 8) == "7" * 10
    store.delete("a", "f")
    store.write("a", "g", "x" * (2 * ENTRY + 30))
    with pytest.raises(NotFound):
        store.history("a", "f")
    assert blobs(store) == 1
    store.close()


def blobs(store: FileStore) -> int:
    count: int = store._connection.execute("SELECT count(*) FROM blobs").fetchone()[0]
    return count


def test_the_same_content_is_stored_once(store: FileStore) -> None:
    store.write("a", "f", "same")
    store.write("a", "g", "same")
    store.write("b", "f", "same")
    assert blobs(store) == 1


def test_a_new_store_finds_what_the_old_one_had(tmp_path: Path) -> None:
    old = FileStore(tmp_path / "storage.db")
    old.write("a", "f", "1")
    old.write("a", "f", "2")
    before = (old.list("a"), old.history("a", "f"), old.usage("a"))
    old.close()
    new = FileStore(tmp_path / "storage.db")
    assert (new.list("a"), new.history("a", "f"), new.usage("a")) == before
    assert new.read("a", "f", 1) == "1"
    new.close()


@dataclass
class Version:
    """A version in the model; `content` None is a deletion."""

    path: str
    number: int
    content: str | None

    @property
    def cost(self) -> int:
        return ENTRY + len((self.content or "").encode())


class ModelFiles:
    """One owner's files as a list of versions in the order in which they were made."""

    def __init__(self, quota: int) -> None:
        self.quota = quota
        self.versions: list[Version] = []

    def head(self, path: str) -> Version | None:
        return next((version for version in reversed(self.versions) if version.path == path), None)

    def content(self, path: str) -> str | None:
        head = self.head(path)
        return None if head is None else head.content

    def is_live(self, version: Version) -> bool:
        return version.content is not None and self.head(version.path) is version

    def commit(self, path: str, content: str | None) -> bool:
        head = self.head(path)
        new = Version(path, 1 if head is None else head.number + 1, content)
        live = sum(version.cost for version in self.versions if self.is_live(version) and version is not head)
        if content is not None and live + new.cost > self.quota:
            return False
        self.versions.append(new)
        while sum(version.cost for version in self.versions) > self.quota:
            self.versions.remove(next(version for version in self.versions if not self.is_live(version)))
        return True


PATHS = st.sampled_from(["a", "b/c", "b/d"])
OWNERS = st.sampled_from(["ann", "bob"])
CONTENTS = st.text(st.sampled_from("xé\n"), max_size=200)


class StorageMachine(RuleBasedStateMachine):
    """The store and the model do the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.quota = 1500
        self.open()
        self.models = {owner: ModelFiles(self.quota) for owner in ("ann", "bob")}

    def open(self) -> None:
        self.store = FileStore(Path(self.folder.name) / "storage.db", self.quota)

    def check(self, owner: str, path: str, content: str | None, operation: Callable[[], object]) -> None:
        if self.models[owner].commit(path, content):
            operation()
        else:
            with pytest.raises(QuotaExceeded):
                operation()

    @rule(owner=OWNERS, path=PATHS, content=CONTENTS)
    def write(self, owner: str, path: str, content: str) -> None:
        self.check(owner, path, content, lambda: self.store.write(owner, path, content))

    @rule(owner=OWNERS, path=PATHS, content=CONTENTS)
    def create(self, owner: str, path: str, content: str) -> None:
        if self.models[owner].content(path) is not None:
            with pytest.raises(InvalidArgument):
                self.store.create(owner, path, content)
        else:
            self.check(owner, path, content, lambda: self.store.create(owner, path, content))

    @rule(owner=OWNERS, path=PATHS, content=CONTENTS)
    def append(self, owner: str, path: str, content: str) -> None:
        before = self.models[owner].content(path) or ""
        whole = before + ("" if not before or before[-1] == "\n" else "\n") + content
        self.check(owner, path, whole, lambda: self.store.append(owner, path, content))

    @rule(owner=OWNERS, path=PATHS)
    def delete(self, owner: str, path: str) -> None:
        if self.models[owner].content(path) is None:
            with pytest.raises(NotFound):
                self.store.delete(owner, path)
        else:
            self.check(owner, path, None, lambda: self.store.delete(owner, path))

    @rule(owner=OWNERS, path=PATHS, number=st.integers(1, 12))
    def rollback(self, owner: str, path: str, number: int) -> None:
        kept = [each for each in self.models[owner].versions if (each.path, each.number) == (path, number)]
        if not kept or kept[0].content is None:
            with pytest.raises(NotFound):
                self.store.rollback(owner, path, number)
        else:
            self.check(owner, path, kept[0].content, lambda: self.store.rollback(owner, path, number))

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @invariant()
    def same_files(self) -> None:
        for owner, model in self.models.items():
            live = sorted((v.path, v.number) for v in model.versions if model.is_live(v))
            assert [(info.path, info.version) for info in self.store.list(owner)] == live
            assert self.store.usage(owner) == (
                sum(v.cost for v in model.versions if model.is_live(v)),
                sum(v.cost for v in model.versions),
            )
            for version in model.versions:
                if version.content is not None:
                    assert self.store.read(owner, version.path, version.number) == version.content
            for path in ("a", "b/c", "b/d"):
                numbers = [v.number for v in model.versions if v.path == path]
                if numbers:
                    assert [info.version for info in self.store.history(owner, path)] == numbers

    @invariant()
    def no_content_is_left_over(self) -> None:
        kept = {v.content for model in self.models.values() for v in model.versions if v.content is not None}
        assert blobs(self.store) == len(kept)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


TestStorageMachine = StorageMachine.TestCase
TestStorageMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
