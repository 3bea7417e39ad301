"""What would be taken out of an environment: told from the files, without rendering."""

from collections.abc import Mapping
from textwrap import indent

import pytest

from bot.core.inventory import Entry
from bot.core.prunes import READ_LIMIT, Building, Comparing, Naming, Parts, Pruned
from tests.core.test_inputs import tree_of

HOME = "deploy/dev"
K = f"{HOME}/kustomization.yaml"
TARGET = Naming(namespace="shop")


def claim(name: str = "data", extra: str = "") -> str:
    return f"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}{extra}}}\n"


def other(kind: str, name: str) -> str:
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: elsewhere}}\n"


def built(files: Mapping[str, str], naming: Naming = TARGET, *, truncated: bool = False) -> Parts:
    building = Building(tree_of(files, truncated=truncated), HOME, naming)
    while building.wanted:
        for path in sorted(building.wanted):
            building.feed(path, files[path].encode())
    return building.result


class Read(list[str]):
    """The paths that were read to compare."""


def pruned(
    *commits: Mapping[str, str], inventory: list[Entry] | None = None, naming: Naming = TARGET, read: Read | None = None
) -> Pruned:
    """What goes from the first ones to the last."""
    *before, after = (built(files, naming) for files in commits)
    comparing = Comparing(before, after)
    texts = {
        entry.oid: (path, files[path])
        for files in commits
        for path, entry in tree_of(files).entries.items()
        if path in files
    }
    while comparing.wanted:
        for oid in sorted(comparing.wanted):
            path, text = texts[oid]
            comparing.feed(oid, text.encode())
            if read is not None:
                read.append(path)
    return comparing.result(inventory)


def environment(kustomization: str = "resources: [data.yaml]", **files: str) -> dict[str, str]:
    """An environment's folder; `a__b` is a/b, and what stands for no folder lies in the environment's."""
    named = {name.replace("__", "/").replace("_yaml", ".yaml"): text for name, text in files.items()}
    return {K: kustomization} | {path if "/" in path else f"{HOME}/{path}": text for path, text in named.items()}


WITH = environment(data_yaml=claim())
KEPT = ", annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}"
DELETE = "$patch: delete\n" + claim()


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (WITH, environment("resources: []"), ["PersistentVolumeClaim shop/data"]),
        (WITH, environment("resources: []", data_yaml=claim()), ["PersistentVolumeClaim shop/data"]),
        (WITH, WITH, []),
        (WITH, environment("resources: [moved.yaml]", moved_yaml=claim()), []),
        (
            WITH,
            environment(
                "resources: [../../base]", base__data_yaml=claim(), base__kustomization_yaml="resources: [data.yaml]"
            ),
            [],
        ),
        (WITH, environment(data_yaml=claim() + "spec: {}\n"), []),
        (WITH, environment(data_yaml=claim("other")), ["PersistentVolumeClaim shop/data"]),
        (
            WITH,
            environment("resources: [data.yaml]\nnamePrefix: x-", data_yaml=claim()),
            ["PersistentVolumeClaim shop/data"],
        ),
        (
            WITH,
            environment("resources: [data.yaml]\nnameSuffix: -x", data_yaml=claim("data")),
            ["PersistentVolumeClaim shop/data"],
        ),
        (
            environment("resources: [data.yaml]\nnamePrefix: x-", data_yaml=claim()),
            WITH,
            ["PersistentVolumeClaim shop/x-data"],
        ),
        (WITH, environment("resources: [data.yaml]\nnamespace: there", data_yaml=claim()), []),
        (environment(data_yaml=claim("data", KEPT)), environment("resources: []"), []),
        (
            environment(
                "resources: [data.yaml]\ncommonAnnotations: {kustomize.toolkit.fluxcd.io/prune: Disabled}",
                data_yaml=claim(),
            ),
            environment("resources: []"),
            [],
        ),
        (
            environment(data_yaml=other("ConfigMap", "a") + "---\n" + claim()),
            environment(data_yaml=other("ConfigMap", "a")),
            ["PersistentVolumeClaim shop/data"],
        ),
        (
            environment(data_yaml="kind: List\nitems:\n- {kind: PersistentVolume, metadata: {name: disk}}\n"),
            environment("resources: []"),
            ["PersistentVolume disk"],
        ),
        (
            environment(data_yaml=other("CustomResourceDefinition", "a.b")),
            environment("namePrefix: x-"),
            ["CustomResourceDefinition a.b"],
        ),
        (environment(data_yaml=other("Namespace", "a")), environment("resources: []"), ["Namespace shop"]),
        (environment(data_yaml=other("StatefulSet", "a")), environment("resources: []"), []),
        (
            WITH,
            environment("resources: [data.yaml]\npatches: [{path: p.yaml}]", data_yaml=claim(), p_yaml=DELETE),
            ["PersistentVolumeClaim shop/data"],
        ),
        (
            WITH,
            environment(
                "resources: [data.yaml]\npatchesStrategicMerge:\n- |\n" + indent(DELETE, "  "),
                data_yaml=claim(),
            ),
            ["PersistentVolumeClaim shop/data"],
        ),
        (
            environment("resources: [data.yaml]\npatches: [{path: p.yaml}]", data_yaml=claim(), p_yaml=DELETE),
            environment("resources: []"),
            [],
        ),
        (
            WITH,
            environment(
                "resources: [data.yaml]\npatches: [{patch: '[{op: remove, path: /spec}]', target: {}}]",
                data_yaml=claim(),
            ),
            [],
        ),
        (
            {f"{HOME}/a.yaml": claim(), f"{HOME}/sub/b.yml": claim("b")},
            {f"{HOME}/a.yaml": claim()},
            ["PersistentVolumeClaim shop/b"],
        ),
        (
            {f"{HOME}/sub/kustomization.yaml": "resources: [x.txt]", f"{HOME}/sub/x.txt": claim()},
            {"README": ""},
            ["PersistentVolumeClaim shop/data"],
        ),
        ({f"{HOME}/sub/kustomization.yaml": "resources: []", f"{HOME}/sub/x.yaml": claim()}, {"README": ""}, []),
    ],
)
def test_what_goes(before: Mapping[str, str], after: Mapping[str, str], names: list[str]) -> None:
    """By what is built, wherever it lies and however it is named."""
    assert list(pruned(before, after).names) == names


@pytest.mark.parametrize(
    ("before", "after", "unseen"),
    [
        (environment(data_yaml="{{ template }}"), environment("resources: []"), f"{HOME}/data.yaml cannot be read"),
        (
            environment(data_yaml="a: &a {}\nb: {<<: *a}"),
            environment("resources: []"),
            f"{HOME}/data.yaml cannot be read",
        ),
        (environment("{{"), WITH, f"{K} cannot be read"),
        (
            WITH,
            environment("resources: [https://example.org/x]"),
            "https://example.org/x is not a file of the repository",
        ),
        (WITH, environment("helmCharts: [{name: x}]"), f"{K} uses Helm charts"),
        (WITH, environment("resources: [../dev]"), f"{HOME} is built of itself, or of too much"),
    ],
)
def test_what_cannot_be_told_is_said(before: Mapping[str, str], after: Mapping[str, str], unseen: str) -> None:
    """Never guessed."""
    assert unseen in pruned(before, after).unseen


def test_a_list_that_is_not_whole_tells_nothing() -> None:
    """What the forge did not list did not go."""
    found = Comparing([built(WITH)], built({}, truncated=True))
    assert "the forge did not list every file of the repository" in found.result(None).unseen


def test_only_what_differs_is_read() -> None:
    """What came is not read where nothing that matters went."""
    same = {f"c{number}_yaml": other("ConfigMap", f"c{number}") for number in range(50)}
    home = "resources: [{}]".format(", ".join(f"c{number}.yaml" for number in range(50)))
    changed = same | {"c7_yaml": other("ConfigMap", "c7") + "data: {a: b}\n"}
    read = Read()
    assert pruned(environment(home, **same), environment(home, **changed), read=read) == Pruned()
    assert read == [f"{HOME}/c7.yaml"]

    read.clear()
    assert pruned(environment(home, **same), environment(home, **same), read=read) == Pruned()
    assert read == []


def test_too_many_files_are_not_read() -> None:
    """Nor is it guessed what they hold."""
    many = {f"c{number}_yaml": claim(f"c{number}") for number in range(READ_LIMIT + 1)}
    home = "resources: [{}]".format(", ".join(f"c{number}.yaml" for number in range(READ_LIMIT + 1)))
    assert pruned(environment(home, **many), WITH) == Pruned(unseen=(f"more than {READ_LIMIT} files differ",))


def test_every_commit_that_may_be_there_counts() -> None:
    """What Flux applied, and what it was on its way to."""
    on_its_way = environment(data_yaml=claim("other"))
    names = pruned(WITH, on_its_way, environment("resources: []")).names
    assert names == ("PersistentVolumeClaim shop/data", "PersistentVolumeClaim shop/other")


@pytest.mark.parametrize(
    ("inventory", "names"),
    [
        ([], []),
        ([Entry("shop", "PersistentVolumeClaim", "else")], []),
        ([Entry("shop", "ConfigMap", "data")], []),
        ([Entry("shop", "PersistentVolumeClaim", "data")], ["PersistentVolumeClaim shop/data"]),
        ([Entry("shop", "PersistentVolumeClaim", "x-data-y")], ["PersistentVolumeClaim shop/data"]),
    ],
)
def test_only_what_flux_has_there_goes(inventory: list[Entry], names: list[str]) -> None:
    """What never got there cannot go; a name that something else made longer is still the same."""
    assert list(pruned(WITH, environment("resources: []"), inventory=inventory).names) == names
