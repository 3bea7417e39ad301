"""Only an object whose source is this repository may be adopted."""

from typing import Any

import pytest

from bot.core.adoption import (
    branch_of,
    chart_of,
    is_ours,
    normal,
    path_of,
    patience_of,
    same_repository,
    source_of,
)

OURS = "https://git.example/acme/web.git"


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/acme/web",
        "https://git.example/acme/web/",
        "https://git.example/acme/web.git/",
        "http://git.example:80/acme/web.git",
        "https://bot:secret@GIT.example:443/acme/web.git",
        "ssh://git@git.example/acme/web.git",
        "ssh://git@git.example:22/acme/web",
        "git@git.example:acme/web.git",
        "git@git.example:/acme/web.git",
        " https://git.example./acme/web.git ",
        "https://git.example/acme/w%65b",
    ],
)
def test_the_same_repository(url: str) -> None:
    assert same_repository(url, OURS)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "web",
        "https://git.example/acme/web2",
        "https://git.example/acme/web.git.git",
        "https://git.example/other/web",
        "https://git.example/x/../acme/web",
        "https://git.example//acme/web",
        "https://evil.example/acme/web",
        "https://git.example.evil/acme/web",
        "https://git.example@evil.example/acme/web",
        "https://git.example:8443/acme/web",
        "https://git.example/acme/web?x=1",
        "https://git.example/acme/web#main",
        "https://git.example:x/acme/web",
        "file:///acme/web",
        "https://git.example/ACME/web",
    ],
)
def test_another_one(url: str) -> None:
    assert not same_repository(url, OURS)


def test_forges_that_do_not_care_about_case() -> None:
    """GitHub redirects nobody for it."""
    assert same_repository("https://git.example/ACME/Web", OURS, exact_case=False)


def test_a_host_alone_is_no_repository() -> None:
    assert normal("https://git.example/") is None


def owner_of(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "flux-system", "name": "web"}, "spec": spec}


def test_the_source_of_an_object() -> None:
    """A Kustomization's or a chart's GitRepository, in its own namespace or in another."""
    reference = {"kind": "GitRepository", "name": "apps"}
    assert source_of(owner_of(sourceRef=reference)) == ("GitRepository", "flux-system", "apps")
    there = reference | {"namespace": "teams"}
    assert source_of(owner_of(sourceRef=there)) == ("GitRepository", "teams", "apps")
    assert source_of(owner_of(chart={"spec": {"sourceRef": reference}})) == ("GitRepository", "flux-system", "apps")
    for other in ({"kind": "Bucket", "name": "apps"}, {"kind": "GitRepository"}, {}):
        assert source_of(owner_of(sourceRef=other)) is None
    assert source_of(owner_of(chartRef={"kind": "OCIRepository", "name": "x"})) is None


def test_a_source_that_borrows() -> None:
    """One that includes another repository may apply that one's files."""
    assert is_ours({"spec": {"url": OURS}}, OURS)
    assert not is_ours({"spec": {"url": OURS, "include": [{"repository": {"name": "other"}}]}}, OURS)
    assert not is_ours({"spec": {}}, OURS)
    assert not is_ours(None, OURS)


def test_what_an_object_says_of_itself() -> None:
    """The folder, the chart, the patience, the branch: as its owner has them."""
    applier = {"kind": "Kustomization", "spec": {"path": "./deploy/../apps/web/", "interval": "10m"}}
    assert (path_of(applier), chart_of(applier), patience_of(applier)) == ("apps/web", None, "10m")
    chart = {"chart": "./charts/web", "valuesFiles": ["./a.yaml"]}
    release = {"kind": "HelmRelease", "spec": {"chart": {"spec": chart}, "interval": "10m"}}
    wanted = {"chart": "charts/web", "values": ["a.yaml"]}
    assert (path_of(release), chart_of(release), patience_of(release)) == (None, wanted, "5m")
    assert chart_of({"kind": "HelmRelease", "spec": {"chartRef": {}}}) is None


@pytest.mark.parametrize(
    ("ref", "branch"),
    [
        ({"branch": "main"}, "main"),
        ({}, "master"),
        ({"branch": "main", "commit": "a" * 40}, None),
        ({"tag": "v1"}, None),
    ],
)
def test_which_branch_it_follows(ref: dict[str, str], branch: str | None) -> None:
    assert branch_of({"spec": {"ref": ref}}) == branch
