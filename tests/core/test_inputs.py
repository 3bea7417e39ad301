"""What an environment's result depends on: followed without rendering."""

import hashlib
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.inputs import FILE_LIMIT, Following, Inputs, digest
from bot.core.ports import Tree, TreeEntry


def oid(data: str) -> str:
    return hashlib.sha1(data.encode()).hexdigest()


def tree_of(files: Mapping[str, str], *, truncated: bool = False) -> Tree:
    """A tree with Git-like ids: a folder's id changes when anything below it does."""
    entries = {path: TreeEntry("blob", oid(content)) for path, content in files.items()}
    folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(path.count("/") + 1)}
    for folder in folders | {""}:
        below = sorted((p, c) for p, c in files.items() if folder == "" or p.startswith(folder + "/"))
        entries[folder] = TreeEntry("tree", oid(repr(below)))
    return Tree(entries=entries, truncated=truncated)


def follow(files: Mapping[str, str], path: str = "deploy/dev", seed: int = 0, components: Sequence[str] = ()) -> Inputs:
    following = Following(tree_of(files), path, components)
    order = random.Random(seed)
    while following.wanted:
        wanted = order.choice(sorted(following.wanted))
        following.feed(wanted, files[wanted].encode())
    return following.result


HOME = "deploy/dev/kustomization.yaml"


def reached(kustomization: str, **others: str) -> list[str]:
    files = {HOME: kustomization, "base/a.yaml": "a", "base/kustomization.yaml": "resources: [a.yaml]"}
    return sorted(follow(files | others).paths)


@pytest.mark.parametrize(
    ("kustomization", "expected"),
    [
        ("", []),
        ("resources: []", []),
        ("resources:", []),
        ("resources: [a.yaml]", []),
        ("resources: [./sub/a.yaml]", []),
        ("resources: [../../base]", ["base"]),
        ("resources: [../../base/]", ["base"]),
        ("resources: ['../../base/a.yaml']", ["base/a.yaml"]),
        ("resources: [../dev]", []),
        ("resources: [../absent.yaml]", ["deploy/absent.yaml"]),
        ("bases: [../../base]", ["base"]),
        ("components: [../../base]", ["base"]),
        ("crds: [../../base/a.yaml]", ["base/a.yaml"]),
        ("configurations: [../../base/a.yaml]", ["base/a.yaml"]),
        ("generators: [../../base]", ["base"]),
        ("transformers: [../../base/a.yaml]", ["base/a.yaml"]),
        ("validators: [../../base/a.yaml]", ["base/a.yaml"]),
        ("patches: [{path: ../../base/a.yaml}]", ["base/a.yaml"]),
        ("patches: [{patch: '- op: remove'}]", []),
        ("patches: [{path: '', patch: x}]", []),
        ("patchesStrategicMerge: [../../base/a.yaml]", ["base/a.yaml"]),
        ("patchesStrategicMerge: [\"a: b\\nc: d\"]", []),
        ("patchesJson6902: [{path: ../../base/a.yaml, target: {}}]", ["base/a.yaml"]),
        ("replacements: [{path: ../../base/a.yaml}]", ["base/a.yaml"]),
        ("replacements: [{source: {}, targets: []}]", []),
        ("configMapGenerator: [{name: x, files: [../../base/a.yaml]}]", ["base/a.yaml"]),
        ("configMapGenerator: [{name: x, files: [k=../../base/a.yaml]}]", ["base/a.yaml"]),
        ("configMapGenerator: [{name: x, envs: [../../base/a.yaml]}]", ["base/a.yaml"]),
        ("configMapGenerator: [{name: x, literals: [a=../b]}]", []),
        ("secretGenerator: [{name: x, env: ../../base/a.yaml}]", ["base/a.yaml"]),
        ("helmCharts: [{name: x, valuesFile: ../../base/a.yaml}]", ["base/a.yaml"]),
        ("helmCharts: [{name: x, additionalValuesFiles: [../../base/a.yaml]}]", ["base/a.yaml"]),
        ("{helmGlobals: {chartHome: ../../base}, helmCharts: [{name: x}]}", ["base"]),
        ("{helmGlobals: {chartHome: ../../base}}", []),
        ("openapi: {path: ../../base/a.yaml}", ["base/a.yaml"]),
        ("resources: ['https://github.com/a/b//c?ref=v1']", []),
        ("resources: ['ssh://git@example.com/a/b']", []),
        ("namePrefix: x-", []),
        ("images: [{name: a, newTag: b}]", []),
    ],
)  # fmt: skip
def test_what_a_kustomization_reaches(kustomization: str, expected: list[str]) -> None:
    assert reached(kustomization) == sorted(["deploy/dev", *expected])


@pytest.mark.parametrize(
    ("kustomization", "reason"),
    [
        ("resources: [../../../x]", "lies outside the repository"),
        ("resources: [../../base/../../x]", "lies outside the repository"),
        ("resources: [/etc/passwd]", "is no path in the repository"),
        ("resources: ['']", "is no path in the repository"),
        ("resources: [1]", "resources holds something that is no path"),
        ("resources: [{a: b}]", "resources holds something that is no path"),
        ("resources: x", "resources is no list"),
        ("patches: [x]", "patches holds something that is no mapping"),
        ("patches: [{path: [a]}]", "patches holds something that is no path"),
        ("future: [x]", "the field “future”"),
        ("- a", "the file holds something that is no mapping"),
        ("text", "the file holds something that is no mapping"),
        ("a: [", "cannot be read"),
        ("a: b: c", "cannot be read"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("x: &x [1]\n<<: *x", "merge keys"),
        ("a: " + "[" * 100_000, "nested more than 64 levels"),
        ("a: !!python/object/apply:os.system [id]", "cannot be read"),
        ("? [a]\n: b", "cannot be read"),
        ("resources: 2020-99-99", "cannot be read"),
        ("transformers: [\"kind: X\\npath: ../x\"]", "a plugin that may read files elsewhere"),
        ("generators: [\"kind: X\\npath: /x\"]", "a plugin that may read files elsewhere"),
        ("a: \u0000", "holds a NUL"),
        ("#" + "x" * 1_000_001, "larger than 1,000,000 bytes"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_the_whole_repository(kustomization: str, reason: str) -> None:
    files = {HOME: kustomization}
    result = follow(files)
    assert result.whole_repository
    assert reason in (result.reason or "")
    assert result.paths == {"": tree_of(files).entries[""].oid}


def test_other_ways_to_the_whole_repository() -> None:
    two = follow({HOME: "", "deploy/dev/kustomization.yml": ""})
    assert two.reason == "deploy/dev holds more than one kustomization file"
    truncated = Following(tree_of({HOME: ""}, truncated=True), "deploy/dev")
    assert truncated.wanted == set()
    assert truncated.result.whole_repository
    assert not Following(tree_of({}, truncated=True), "deploy/dev").result.missing
    many = follow({HOME: f"resources: [{', '.join(f'../x{n}.yaml' for n in range(FILE_LIMIT))}]"})
    assert many.reason == "more than 2,000 files are reached"
    latin = Following(tree_of({HOME: ""}), "deploy/dev")
    latin.feed(HOME, b"namePrefix: \xe4")
    assert latin.result.whole_repository
    outside = {HOME: "transformers: [t.yaml]", "deploy/dev/t.yaml": "kind: X\npath: ../../other.yaml"}
    assert follow(outside).whole_repository


def test_chains_and_cycles_are_followed_once() -> None:
    files = {
        HOME: "resources: [../../a]",
        "a/kustomization.yml": "resources: [../b]",
        "b/Kustomization": "resources: [../a, ../deploy/dev, ../c/x.yaml]",
        "c/x.yaml": "x",
    }
    assert sorted(follow(files).paths) == ["a", "b", "c/x.yaml", "deploy/dev"]


def test_a_folder_without_a_kustomization_takes_all_below_it() -> None:
    files = {"deploy/dev/app/kustomization.yaml": "resources: [../../../base]", "deploy/dev/x.yaml": "x", "base/a": "a"}
    assert sorted(follow(files).paths) == ["base", "deploy/dev"]


def test_components_of_the_configuration_are_reached() -> None:
    """With what they reach themselves; one that leaves the repository cannot be followed."""
    files = {HOME: "", "parts/kustomization.yaml": "resources: [../more.yaml]", "more.yaml": "a"}

    assert sorted(follow(files, components=["../../parts"]).paths) == ["deploy/dev", "more.yaml", "parts"]
    assert follow(files, components=["../../../parts"]).whole_repository


def test_a_missing_environment() -> None:
    assert follow({"x": "y"}) == Inputs(paths={"deploy/dev": ""}, missing=True)
    assert follow({"deploy/dev": "a file"}).missing


def test_the_root_covers_everything() -> None:
    assert reached("resources: [../..]") == [""]


def test_the_root_as_environment() -> None:
    files = {"kustomization.yaml": "resources: [base]", "base/a": "a"}
    for path in ("", ".", "./", "/"):
        assert follow(files, path).paths == {"": tree_of(files).entries[""].oid}


def test_a_submodule_counts_by_its_commit() -> None:
    tree = tree_of({HOME: "resources: [../../vendor/lib/x.yaml]"})
    tree = Tree(entries={**tree.entries, "vendor/lib": TreeEntry("commit", "c" * 40)})
    following = Following(tree, "deploy/dev")
    following.feed(HOME, b"resources: [../../vendor/lib/x.yaml]")
    assert following.result.paths["vendor/lib/x.yaml"] == "c" * 40


def test_nothing_is_told_before_everything_was_read() -> None:
    following = Following(tree_of({HOME: ""}), "./deploy/dev/")
    assert following.wanted == {HOME}
    with pytest.raises(ValueError, match="not everything was read"):
        _ = following.result
    following.feed("something/else", b"")
    assert following.wanted == {HOME}
    following.feed(HOME, b"")
    assert not following.wanted
    assert sorted(following.result.paths) == ["deploy/dev"]


def test_an_absent_file_changes_the_digest_when_it_appears() -> None:
    files = {HOME: "resources: [../later.yaml]"}
    assert digest(follow(files), {}) != digest(follow(files | {"deploy/later.yaml": "x"}), {})


def test_the_digest_does_not_depend_on_order() -> None:
    left = Inputs(paths={"a": "1", "b": "2"})
    right = Inputs(paths={"b": "2", "a": "1"})
    assert digest(left, {"x": {"a": 1, "b": 2}}) == digest(right, {"x": {"b": 2, "a": 1}})
    assert digest(left, {}) != digest(Inputs(paths={"a": "2", "b": "1"}), {})
    assert len(digest(left, {})) == 64


NAMES = st.sampled_from(["a", "b", "c", "d"])
KINDS = st.sampled_from(["resources", "components", "bases"])


@st.composite
def repositories(draw: st.DrawFn) -> dict[str, str]:
    """Folders with kustomizations that refer to each other, and files that some of them reach."""
    files = {}
    for name in ("deploy/dev", "base/a", "base/b", "base/c", "base/d"):
        up = "../" * (name.count("/") + 1)
        folders = draw(st.lists(NAMES, max_size=2))
        loose = draw(st.lists(NAMES, max_size=2))
        items = [f"{up}base/{folder}" for folder in folders] + [f"{up}loose/{file}.yaml" for file in loose]
        files[f"{name}/kustomization.yaml"] = f"{draw(KINDS)}: [{', '.join(items)}]"
        files[f"{name}/x.yaml"] = "x"
    for name in draw(st.sets(NAMES)):
        files[f"loose/{name}.yaml"] = "x"
    return files


@given(repositories(), st.data())
def test_the_digest_changes_with_what_is_reached_and_with_nothing_else(
    files: dict[str, str], data: st.DataObject
) -> None:
    before = follow(files)
    touched = data.draw(st.sampled_from(sorted([path for path in files if path.endswith("x.yaml") or "loose" in path])))
    after = follow(files | {touched: "changed"})
    covered = any(touched == path or touched.startswith(path + "/") for path in before.paths)
    assert (digest(before, {}) != digest(after, {})) is covered
    assert digest(before, {"interval": "10m"}) != digest(before, {"interval": "5m"})


@given(repositories(), st.integers(0, 100))
def test_the_order_of_reading_does_not_matter(files: dict[str, str], seed: int) -> None:
    assert follow(files, seed=seed) == follow(files)
    assert digest(follow(files, seed=seed), {}) == digest(follow(files), {})


@given(st.binary(max_size=300))
def test_no_content_is_too_strange(content: bytes) -> None:
    following = Following(tree_of({HOME: ""}), "deploy/dev")
    following.feed(HOME, content)
    assert following.wanted <= set(following.tree.entries)
