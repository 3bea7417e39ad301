"""The sandbox's Git repositories: commits, comparing, merging, and what Flux may fetch."""

import threading

import pytest

from bot.sandbox.git import FetchError, GitError, GitStore, MergeConflict

ADA = "Ada <ada@example.test>"
URL = "http://forge.test/acme/shop.git"


@pytest.fixture
def store(tmp_path):
    store = GitStore(tmp_path)
    store.create("acme/shop")
    yield store
    store.close()


def put(store, changes, branch="main", **more):
    return store.commit("acme/shop", branch, changes, "Change", ADA, **more)


def test_one_commit_changes_several_files(store):
    """Files are added, changed and removed together, deep folders come and go."""
    put(store, {"a.txt": b"1", "apps/web/deploy.yaml": b"x", "apps/db/deploy.yaml": b"y"})
    sha = put(store, {"a.txt": b"2", "apps/db/deploy.yaml": None, "b.txt": b"new"})

    assert store.files("acme/shop", sha) == {"a.txt": b"2", "b.txt": b"new", "apps/web/deploy.yaml": b"x"}
    assert store.head("acme/shop", "main") == sha
    assert [(c.path, c.status) for c in store.diff("acme/shop", store.info("acme/shop", sha).parents[0], sha)] == [
        ("a.txt", "modified"),
        ("apps/db/deploy.yaml", "removed"),
        ("b.txt", "added"),
    ]


def test_tree_lists_folders_and_files_in_gits_order(store):
    """A recursive listing has modes, types, sizes and the object ids that Git itself computes."""
    sha = put(store, {"b/c.txt": b"hello\n", "a": b"run", "link": b"a"}, modes={"a": 0o100755, "link": 0o120000})

    assert [(e.path, e.mode, e.type, e.size) for e in store.tree("acme/shop", sha)] == [
        ("a", "100755", "blob", 3),
        ("b", "040000", "tree", None),
        ("b/c.txt", "100644", "blob", 6),
        ("link", "120000", "blob", 1),
    ]
    assert store.tree("acme/shop", sha)[2].oid == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    again = put(store, {"a": b"walk"})
    assert store.tree("acme/shop", again)[0].mode == "100755"


@pytest.mark.parametrize("path", ["../up", "/root", "a//b", ".git/config", "a/./b", "", "a\0b", "file/below", "folder"])
def test_impossible_paths_are_refused(store, path):
    """Nothing can be written outside the tree, over a folder, or below a file."""
    put(store, {"file": b"", "folder/x": b""})
    with pytest.raises(GitError):
        put(store, {path: b"evil"})


@pytest.mark.parametrize("name", ["../x", "a/..", "a", "a/b/c", "/etc/passwd", "a/b\0", "a/b.git", "", ".ssh/x"])
def test_repository_names_cannot_leave_the_folder(store, name):
    """A repository's name becomes a folder, so it has to look like one of GitHub's."""
    with pytest.raises(GitError):
        store.create(name)


def test_refs_move_only_from_where_they_are_expected(store):
    """Compare and swap: a stale expectation changes nothing."""
    one = put(store, {"a": b"1"})
    two = put(store, {"a": b"2"})

    assert not store.set_ref("acme/shop", "main", one, expected=one)
    assert store.set_ref("acme/shop", "main", one, expected=two)
    assert not store.set_ref("acme/shop", "main", two, expected=None)
    assert store.set_ref("acme/shop", "topic/x", two, expected=None)
    assert not store.set_ref("acme/shop", "topic", two, expected=None), "topic is a folder of refs already"
    assert not store.delete_ref("acme/shop", "topic/x", expected=one)
    assert store.delete_ref("acme/shop", "topic/x")
    assert store.branches("acme/shop") == {"main": one}
    with pytest.raises(GitError):
        store.set_ref("acme/shop", "a..b", one, expected=None)


def test_history_and_merge_base(store):
    """Ancestry over a fork and a merge."""
    root = put(store, {"a": b"1"})
    left = put(store, {"left": b""})
    right = put(store, {"right": b""}, "topic", parent=root)
    merged = store.merge("acme/shop", "main", right, "Merge topic", ADA)

    assert store.merge_base("acme/shop", left, right) == root
    assert store.merge_base("acme/shop", merged, right) == right
    assert store.is_ancestor("acme/shop", right, merged)
    assert not store.is_ancestor("acme/shop", left, right)
    assert store.history("acme/shop", merged, root)[-1] == merged
    assert set(store.history("acme/shop", merged, left)) == {right, merged}
    assert store.info("acme/shop", merged).parents == (left, right)
    assert set(store.files("acme/shop", merged)) == {"a", "left", "right"}


def test_both_sides_changing_a_path_is_a_conflict(store):
    """The three-way merge goes by path, refuses what both changed, and leaves the branch alone."""
    root = put(store, {"a": b"1", "same": b"1"})
    head = put(store, {"a": b"ours", "same": b"2"})
    theirs = put(store, {"a": b"theirs", "same": b"2"}, "topic", parent=root)

    with pytest.raises(MergeConflict) as caught:
        store.merge("acme/shop", "main", theirs, "Merge", ADA)
    assert caught.value.paths == ["a"]
    assert store.head("acme/shop", "main") == head


def test_a_moved_file_is_a_rename(store):
    """Like on GitHub, a file with the same content under another name was renamed."""
    old = put(store, {"a.yaml": b"content"})
    new = put(store, {"a.yaml": None, "b.yaml": b"content"})

    (change,) = store.diff("acme/shop", old, new)
    assert (change.path, change.status, change.previous) == ("b.yaml", "renamed", "a.yaml")


def test_names_resolve_to_commits(store):
    """Branches, full refs, whole and shortened commit ids; blobs and unknown names do not."""
    sha = put(store, {"a": b"1"}, "release/1")
    blob = store.tree("acme/shop", sha)[0].oid

    for name in ("release/1", "refs/heads/release/1", "heads/release/1", sha, sha[:7]):
        assert store.resolve("acme/shop", name) == sha
    for name in (blob, "nope", "0" * 40, "../../etc/passwd"):
        assert store.resolve("acme/shop", name) is None


class TestFetch:
    """What source-controller would get, and how it would fail."""

    def test_branch_and_commit(self, store):
        """With a branch the revision names it; a commit alone needs any branch that contains it."""
        one = put(store, {"a": b"1"})
        two = put(store, {"a": b"2"})

        assert store.fetch(URL, None, "main", None).revision == f"main@sha1:{two}"
        pinned = store.fetch(URL, None, "main", one)
        assert (pinned.revision, pinned.files) == (f"main@sha1:{one}", {"a": b"1"})
        assert store.fetch(URL, None, None, one).revision == f"sha1:{one}"

    def test_missing_branch(self, store):
        """The words are Git's."""
        put(store, {"a": b"1"})
        with pytest.raises(FetchError, match='couldn\'t find remote ref "refs/heads/x"'):
            store.fetch(URL, None, "x", None)

    def test_unreachable_commits(self, store):
        """A commit off the branch, overwritten by force, or only in a fork cannot be fetched."""
        root = put(store, {"a": b"1"})
        lost = put(store, {"a": b"lost"})
        put(store, {"a": b"forced"}, parent=root)
        topic = put(store, {"t": b""}, "topic")
        store.fork("acme/shop", "eve/shop")
        forked = store.commit("eve/shop", "main", {"evil": b""}, "Evil", ADA)
        store.borrow("eve/shop", forked, "acme/shop")
        store.keep("acme/shop", "refs/pull/1/head", forked)

        for branch, commit in (("main", lost), ("main", topic), (None, lost), (None, forked), ("main", forked)):
            with pytest.raises(FetchError, match="object not found"):
                store.fetch(URL, None, branch, commit)
        assert store.fetch(URL, None, None, topic).files.keys() == {"t"}
        assert store.read("acme/shop", forked, "evil") == b"", "the forge itself has the objects"

    def test_credentials(self, tmp_path):
        """The predicate decides; without it being asked nothing is said about what exists."""
        store = GitStore(tmp_path, allowed=lambda name, given: given == ("git", "good"))
        store.create("acme/shop")
        put(store, {"a": b"1"})

        assert store.fetch(URL, ("git", "good"), "main", None).files == {"a": b"1"}
        for given, name in ((None, "shop"), (("git", "bad"), "shop"), (None, "nothing")):
            with pytest.raises(FetchError, match="authentication required: "):
                store.fetch(f"http://forge.test/acme/{name}.git", given, "main", None)
        with pytest.raises(FetchError, match="repository not found"):
            store.fetch("http://forge.test/acme/nothing.git", ("git", "good"), "main", None)

    def test_other_hosts(self, store):
        """Once the forge's address is known, another host is not it."""
        put(store, {"a": b"1"})
        store.url = "http://127.0.0.1:8000"
        with pytest.raises(FetchError, match="no such host"):
            store.fetch(URL, None, "main", None)
        for url in ("http://[::1", "http://127.0.0.1:x/acme/shop", "/etc", ""):
            with pytest.raises(FetchError, match="unable to clone"):
                store.fetch(url, None, "main", None)
        assert store.fetch("http://127.0.0.1:8000/acme/shop", None, "main", None).files


def test_threads_lose_no_commit(store):
    """Twenty commits from each of four threads make one history of eighty and the first."""
    put(store, {"start": b""})

    def work(name):
        for count in range(20):
            put(store, {f"{name}/{count}": b""})

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    head = store.head("acme/shop", "main")
    assert len(store.history("acme/shop", head)) == 81
    assert len(store.files("acme/shop", head)) == 81
