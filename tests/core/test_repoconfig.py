"""`.sluice.yaml`: what is understood, what is refused, and where it says so."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import UserError
from bot.core.manifests import OWNED_FIELDS
from bot.core.repoconfig import (
    Adopt,
    Chart,
    Config,
    Environment,
    Helm,
    Project,
    default,
    default_environments,
    parse,
)
from bot.core.safe_yaml import BrokenYaml, compose


def read(content: bytes) -> Config:
    return parse(content, "main", "acme/shop")


def of_shop(*found: Environment) -> Config:
    return Config(projects=(Project(name="shop", environments=found),))


def environments(*lines: str) -> bytes:
    """A file for one environment `dev` with these fields from line 4 on."""
    return "\n".join(["version: 1", "environments:", "  dev:", *(f"    {line}" for line in lines)]).encode()


def refused(content: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        read(content)
    return caught.value


def test_without_a_file_there_are_three_environments() -> None:
    found = default_environments("trunk")
    assert [each.name for each in found] == ["development", "staging", "production"]
    assert found[1] == Environment(
        name="staging", path="deploy/staging", branch="trunk", service_account="sluice-staging", interval="10m",
        timeout="5m", cluster="default", namespace=None,
    )  # fmt: skip
    assert found[1].target_namespace("project-0a1b2c3d") == "project-0a1b2c3d-staging"
    assert [each.name for each in default_environments("main", ["dev"])] == ["dev"]


def test_version_alone_is_enough() -> None:
    everywhere = of_shop(*default_environments("main"))
    assert default("main", "acme/shop") == everywhere
    assert read(b"version: 1") == everywhere
    assert read(b"\xef\xbb\xbfversion: 1\r\n") == everywhere
    [found] = read(b"version: 1\nprojects: {web: }").projects
    assert found == Project(name="web", environments=default_environments("main"))


@pytest.mark.parametrize(
    ("repository", "name"), [("acme/shop", "shop"), ("group/sub/Shop", "shop"), ("acme/my_shop.io", "my-shop-io")]
)
def test_a_single_project_is_named_after_its_repository(repository: str, name: str) -> None:
    assert parse(b"version: 1", "main", repository).projects[0].name == name


def test_everything_that_a_field_can_say() -> None:
    text = b"""
version: 1
projects:
  web:
    git: deploy_key
    environments:
      development: { path: ./apps//web/dev/ }
      staging: { path: apps/web/staging, after: development }
      production:
        path: apps/web/production
        branch: release/1.x
        namespace: web-production
        cluster: eu
        service_account: web.deployer
        auto_sync: false
        interval: 1h30m
        timeout: 90s
        approvals: 2
        approvers: ["team:acme/sre", "user:alice"]
        deployers: ["role:write"]
        reviews_count: true
        after: staging
        deploy_from: merged
        forks: true
        name_commit: true
        up_to_date: true
        checks: ["ci/test"]
        freeze: ["Fri 16:00 - Mon 08:00 Europe/Berlin"]
        cloud_provider: aws
        region: eu-central-1
        kustomization: { wait: false, postBuild: { substitute: { size: "3" } }, dependsOn: [ { name: base } ] }
      charts:
        helm: { chart: ./charts/web, values: [values.yaml] }
      elsewhere:
        helm: { chart: { repository: "https://charts.example.org", name: podinfo, version: 6.x } }
      image:
        helm: { chart: { repository: "oci://ghcr.io/acme/web", version: 1.2.3 } }
      adopted: { adopt: flux-system/web }
"""
    config = read(text)
    assert [project.name for project in config.projects] == ["web"]
    web = config.projects[0]
    assert web.git == "deploy_key"
    assert web.environments[:3] == (
        Environment(
            name="development", path="apps/web/dev", branch="main", service_account="sluice-development",
            git="deploy_key",
        ),
        Environment(
            name="staging", path="apps/web/staging", branch="main", service_account="sluice-staging",
            after="development", git="deploy_key",
        ),
        Environment(
            name="production", path="apps/web/production", branch="release/1.x", namespace="web-production",
            cluster="eu", service_account="web.deployer", interval="1h30m", timeout="90s", auto_sync=False,
            approvals=2, approvers=("team:acme/sre", "user:alice"), deployers=("role:write",), reviews_count=True,
            after="staging", deploy_from="merged", forks=True, name_commit=True, up_to_date=True, checks=("ci/test",),
            freeze=("Fri 16:00 - Mon 08:00 Europe/Berlin",), cloud_provider="aws", region="eu-central-1",
            kustomization={"wait": False, "postBuild": {"substitute": {"size": "3"}}, "dependsOn": [{"name": "base"}]},
            git="deploy_key",
        ),
    )  # fmt: skip
    production = web.environment("production")
    assert production is not None
    assert production.target_namespace("project-0a1b2c3d") == "web-production"
    assert not production.own_account
    assert [each.helm for each in web.environments[3:6]] == [
        Helm(chart="charts/web", values=("values.yaml",)),
        Helm(chart=Chart(repository="https://charts.example.org", name="podinfo", version="6.x")),
        Helm(chart=Chart(repository="oci://ghcr.io/acme/web", version="1.2.3")),
    ]
    assert web.environments[6].adopt == Adopt(namespace="flux-system", name="web")


def test_environments_of_a_single_project() -> None:
    [found] = read(environments("path: .")).projects[0].environments
    assert found.path == "."


def test_several_projects_say_each_where_they_lie() -> None:
    text = b"version: 1\nprojects:\n  web:\n    environments: {dev: {path: web}}\n  api:\n    environments: {dev: %s}\n"
    assert [project.name for project in read(text % b"{path: api}").projects] == ["web", "api"]
    error = refused(text % b"{}")
    assert error.message.startswith(".sluice.yaml line 6, column 25: projects.api.environments.dev.path is missing")
    error = refused(b"version: 1\nprojects:\n  web: {}\n  api: {}")
    assert error.message.startswith(".sluice.yaml line 3, column 8: projects.web.environments is missing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1, column 1: the file is empty; it must say at least `version: 1`"),
        (b"# nothing", "line 1, column 1: the file is empty; it must say at least `version: 1`"),
        (b"- a", "line 1, column 1: the file must be a mapping (key: value)"),
        (b"text", "line 1, column 1: the file must be a mapping (key: value)"),
        (b"{}", "line 1, column 1: version is missing; for example `version: 1`"),
        (b"version: 2", "line 1, column 10: version must be 1"),
        (b"version: '1'", "line 1, column 10: version must be 1"),
        (b"version: 1.0", "line 1, column 10: version must be 1"),
        (b"version: [1]", "line 1, column 10: version must be 1"),
        (b"version: 1\nproject: x", "line 2, column 1: project is not known here; did you mean `projects`?"),
        (b"version: 1\nversion: 1", "line 2, column 1: version is there twice"),
        (b"version: 1\n1: x", "line 2, column 1: the file has a key that is no text"),
        (b"version: 1\n[a]: x", "line 2, column 1: the file has a key that is no text"),
        (b"version: 1\nprojects: []", "line 2, column 11: projects must be a mapping (key: value)"),
        (b"version: 1\nprojects: {}", "line 2, column 11: projects must name at least one project"),
        (b"version: 1\nprojects: {Web: {}}", "line 2, column 12: projects.Web is no good name"),
        (b"version: 1\nprojects: {web: {x: 1}}", "line 2, column 18: projects.web.x is not known here; known"),
        (b"version: 1\nprojects: {web: {}}\nenvironments: {a: }", "line 3, column 15: environments must stand below"),
        (b"version: 1\nenvironments: {}", "line 2, column 15: environments must name at least one environment"),
        (b"version: 1\nenvironments: dev", "line 2, column 15: environments must be a mapping (key: value)"),
        (b"version: 1\nenvironments: {dev: x}", "line 2, column 21: environments.dev must be a mapping (key: value)"),
        (b"version: 1\nenvironments: {De v: {}}", "line 2, column 16: environments.De v is no good name"),
        (b"version: 1\nenvironments: {-a: {}}", "line 2, column 16: environments.-a is no good name"),
        (b"version: 1\nenvironments: {a: {}, a: {}}", "line 2, column 23: environments.a is there twice"),
        (b"version: 1\nenvironments:\n  " + b"a" * 41 + b": {}", "line 3, column 3: environments."),
        (b"version: 1\na: &a {x: 1}\n<<: *a", "line 3, column 1: merge keys (<<) are not supported"),
        (b"version: 1\n---\nversion: 1", "line 2, column 1: the file holds more than one document"),
        (b"version: 1\nx: [", "line 3, column 1: did not find expected node content"),
        (b"version: 1\nx: 'a\n", "line 3, column 1: found unexpected end of stream"),
        (b"version: 1\nx: *y", "line 2, column 4: found undefined alias"),
        (b"version: 1\nx: \x00", "line 2, column 4: the file holds a NUL"),
        (b"version: 1\nx: \xff", "line 2, column 4: the file is not UTF-8"),
        ("version: 1".encode("utf-16"), "line 1, column 1: the file is not UTF-8"),
        (b"version: 1\n# \x07", "line 1, column 1: control characters are not allowed"),
        (b"version: 1\nx: " + b"[" * 100_000, "line 2, column 67: the file is nested more than 64 levels deep"),
        (b"version: 1\nx: " + b"- " * 100_000, "line 2, column 4: "),
        (b"version: 1\n" + b"#" * 1_000_000, "line 1, column 1: the file is larger than 1,000,000 bytes"),
        (b"version: 1\n\x1b[31m: x", "line 1, column 1: control characters are not allowed"),
        (b"version: 1\n\"a\\u202eb\": x", "line 2, column 1: a\ufffdb is not known here"),
        (b"version: 1\n" + b"x" * 99 + b": y", "line 2, column 1: " + "x" * 59 + "… is not known here"),
    ],
)  # fmt: skip
def test_a_broken_file_names_line_and_field(content: bytes, message: str) -> None:
    error = refused(content)
    assert error.code == "config_invalid"
    assert error.message.startswith(f".sluice.yaml {message}")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("path: /apps", "path must not begin with /"),
        ("path: ../apps", "path must not leave the repository"),
        ("path: a/../../b", "path must not leave the repository"),
        ("path: a/..", "path must not leave the repository"),
        ("path: ''", "path must be a path in the repository"),
        ("path: " + "x" * 1025, "path must be a path in the repository"),
        ('path: "a\\u0000b"', "path holds a character"),
        ('path: "a\\u202eb"', "path holds a character"),
        ('path: "a\\u200bb"', "path holds a character"),
        ("path: a\\b", "path holds a character"),
        ('path: "a\\nb"', "path holds a character"),
        ("path: 1", "path must be text; put 1 into quotes"),
        ("path: true", "path must be text; put true into quotes"),
        ("path: [a]", "path must be text"),
        ("path:", "path must be text"),
        ("branch: on", "branch must be text; put on into quotes"),
        ("branch: a b", "branch is no name that Git allows"),
        ("branch: a..b", "branch is no name that Git allows"),
        ("branch: -a", "branch is no name that Git allows"),
        ("branch: a.lock", "branch is no name that Git allows"),
        ("branch: a/", "branch is no name that Git allows"),
        ("branch: a//b", "branch is no name that Git allows"),
        ("branch: a/.b", "branch is no name that Git allows"),
        ("branch: 'a~1'", "branch is no name that Git allows"),
        ("branch: 'a@{1}'", "branch is no name that Git allows"),
        ("branch: '@'", "branch is no name that Git allows"),
        ("branch: ''", "branch is no name that Git allows"),
        ("branch: sluice/keep/web/dev", "branch must be a branch of yours"),
        ("branch: sluice/scaffold", "branch must be a branch of yours"),
        ("branch: refs/heads/main", "branch must be a branch of yours"),
        ("namespace: Web", "namespace must be lower-case letters, digits and -, and begi"),
        ("namespace: web_prod", "namespace must be lower-case letters, digits and -, and begi"),
        ("namespace: -web", "namespace must be lower-case letters, digits and -, and begi"),
        ("namespace: web-", "namespace must be lower-case letters, digits and -, and begi"),
        ("namespace: web.prod", "namespace must be lower-case letters, digits and -, and begi"),
        ("namespace: ''", "namespace must be at most 63"),
        ("namespace: " + "x" * 64, "namespace must be at most 63"),
        ("namespace: 12", "namespace must be text; put 12 into quotes"),
        ("namespace: wéb", "namespace must be lower-case letters, digits and -, and begi"),
        ("cluster: a/b", "cluster must be lower-case letters, digits and -, and begin "),
        ("service_account: Web", "service_account must be lower-case letters, digits, - and ."),
        ("service_account: a..b", "service_account must be lower-case letters, digits, - and ."),
        ("service_account: system:admin", "service_account must be lower-case letters, digits, - and ."),
        ("interval: 10", "interval must be text; put 10 into quotes"),
        ("interval: '10'", "interval must be a duration"),
        ("interval: 10 m", "interval must be a duration"),
        ("interval: 1d", "interval must be a duration"),
        ("interval: -5m", "interval must be a duration"),
        ("interval: 0s", "interval must be between 1s and 168h"),
        ("interval: 500ms", "interval must be between 1s and 168h"),
        ("interval: 999h", "interval must be between 1s and 168h"),
        ("interval: ١m", "interval must be a duration"),
        ("timeout: soon", "timeout must be a duration"),
        ("timeout: 1h1h1h1h1h1h1h1h1h1h1h", "timeout must be a duration"),
        ("Path: a", "Path is not known here; did you mean `path`?"),
        ("suspend: true", "suspend is not known here"),
    ],
)
def test_a_broken_field_is_named(line: str, problem: str) -> None:
    error = refused(environments("# a remark", line))
    assert error.code == "config_invalid"
    assert re.match(r"\.sluice\.yaml line 5, column \d+: environments\.dev\.", error.message)
    assert problem in error.message


def test_a_field_of_a_named_project_has_its_whole_path() -> None:
    error = refused(b"version: 1\nprojects:\n  web:\n    environments:\n      dev:\n        path: /x")
    assert error.message.startswith(".sluice.yaml line 6, column 15: projects.web.environments.dev.path must not")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("aproovals: 2", "aproovals is not known here; did you mean `approvals`?"),
        ("approvals: 21", "approvals must be a whole number from 0 to 20"),
        ("approvals: -1", "approvals must be a whole number"),
        ("approvals: 0x2", "approvals must be a whole number"),
        ("approvals: '2'", "approvals must be a whole number"),
        ("auto_sync: 1", "auto_sync must be true or false"),
        ("auto_sync: 'no'", "auto_sync must be true or false"),
        ("approvers: alice", "approvers must be a list"),
        ("approvers: [alice]", "approvers[0] must be user:LOGIN, team:"),
        ("approvers: ['role:boss']", "approvers[0] must be user:LOGIN, team:"),
        ("approvers: ['team:sre']", "approvers[0] must be user:LOGIN, team:"),
        ("approvers: ['user:a', 'user:a']", "approvers[1] is there twice"),
        ("deploy_from: branch", "deploy_from cannot be `branch`; known are merged, pull_request"),
        ("deploy_from: mergd", "deploy_from cannot be `mergd`; did you mean `merged`?"),
        ("after: dev", "after goes round in a circle"),
        ("after: staging", "after names no environment of this project; there are dev"),
        ("checks: [sluice/web]", "checks[0] must not be one of Sluice's own statuses"),
        ("freeze: [weekend]", "freeze[0] must be like `Fri 16:00 - Mon 08:00 Europe/Berlin`"),
        ("freeze: ['Fri 24:00 - Mon 08:00 UTC']", "freeze[0] must be like"),
        ("freeze: ['Fri 16:00 - Mon 08:00 Europe/Berln']", "freeze[0] names Europe/Berln, which is no time zone"),
        ("namespace: project-0123abcd-web", "namespace must not be one of Sluice's own"),
        ("adopt: web", "adopt must be the namespace and name of a Flux object"),
        ("adopt: a/b/c", "adopt must be the namespace and name of a Flux object"),
        ("helm: {}", "helm.chart is missing; for example `chart: charts/web`"),
        ("helm: {chart: ../x}", "helm.chart must not leave the repository"),
        ("helm: {chart: {repository: 'https://a.b'}}", "helm.chart.version is missing"),
        ("helm: {chart: {repository: 'http://a.b', version: 1.x}}", "repository must be an https:// or oci://"),
        ("helm: {chart: {repository: 'https://u:p@a.b', version: 1.x}}", "repository must be an https:// or oci://"),
        ("helm: {chart: {repository: 'https://a.b', version: 1.x}}", "helm.chart.name is missing"),
        ("helm: {chart: {repository: 'oci://a/b', version: 1.x, name: b}}", "helm.chart.name must be left out"),
        ("kustomization: [a]", "kustomization must be a mapping"),
        ("kustomization: {pathces: []}", "kustomization.pathces is not known here; did you mean `patches`?"),
        ("kustomization: {wait: 1}", "kustomization.wait must be true or false, not a number"),
        ("kustomization: {timeout: 5m}", "set `timeout` of the environment"),
        ("kustomization: {postBuild: {x: 0x1f}}", "kustomization.postBuild.x holds a value that JSON has not"),
        ("kustomization: {postBuild: {x: 2026-01-01}}", "kustomization.postBuild.x holds a value that JSON has not"),
        ("kustomization: {postBuild: {x: .nan}}", "kustomization.postBuild.x holds a value that JSON has not"),
        (
            "kustomization: {postBuild: {substituteFrom: [{kind: Secret, name: git-credentials}]}}",
            "kustomization.postBuild must not read git-credentials",
        ),
        ("{adopt: a/b, approvals: 1}", "approvals cannot stand beside `adopt`"),
        ("{adopt: a/b, auto_sync: false}", "auto_sync cannot stand beside `adopt`"),
        ("{adopt: a/b, freeze: ['Fri 16:00 - Mon 08:00 UTC']}", "freeze cannot stand beside `adopt`"),
        ("{helm: {chart: a}, adopt: a/b}", "adopt cannot stand beside `helm`"),
        ("{kustomization: {}, helm: {chart: a}}", "helm cannot stand beside `kustomization`"),
    ],
)
def test_every_other_field_is_checked(line: str, problem: str) -> None:
    """The message names the place and, where there is one, the nearest valid name."""
    error = refused(environments("# a remark", line))
    assert error.code == "config_invalid"
    assert re.match(r"\.sluice\.yaml line 5, column \d+: environments\.dev\.", error.message)
    assert problem in error.message


@pytest.mark.parametrize("field", sorted(OWNED_FIELDS))
def test_what_sluice_owns_is_refused(field: str) -> None:
    error = refused(environments(f"kustomization: {{{field}: x}}"))
    assert error.message == (
        f".sluice.yaml line 4, column 21: environments.dev.kustomization.{field} "
        "is Sluice's own and cannot be set under `kustomization`"
    )


def test_environments_that_wait_for_each_other_are_refused() -> None:
    error = refused(b"version: 1\nenvironments:\n  a: {after: b}\n  b: {after: a}")
    assert error.message.startswith(".sluice.yaml line 3, column 14: environments.a.after goes round in a circle")


def test_two_environments_with_one_target_are_refused() -> None:
    text = "version: 1\nenvironments:\n  a: {namespace: web}\n  b: {namespace: web%s}"
    error = refused((text % "").encode())
    assert error.message == (".sluice.yaml line 4, column 18: environments.b.namespace web is the target of a, too")
    assert len(read((text % ", cluster: eu").encode()).projects[0].environments) == 2


def test_environments_of_two_projects_with_one_target_are_refused() -> None:
    one = "    environments: {dev: {path: a, namespace: web}}\n"
    error = refused(f"version: 1\nprojects:\n  a:\n{one}  b:\n{one}".encode())
    assert error.message.endswith(
        "projects.b.environments.dev.namespace web is the target of projects.a.environments.dev, too"
    )


def test_there_are_at_most_fifty_environments() -> None:
    text = "version: 1\nenvironments:\n" + "".join(f"  e{number}: {{}}\n" for number in range(51))
    assert refused(text.encode()).message.startswith(".sluice.yaml line 53, column 3: environments.e50 is one too many")


def bomb(start: bytes, indent: bytes = b"") -> bytes:
    """Nine of nine of nine …"""
    lines = [b"a: &a [x]"]
    lines += [b"%c: &%c [%s]" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(20)]
    return start + b"".join(indent + line + b"\n" for line in lines)


def test_anchors_do_not_explode() -> None:
    assert refused(bomb(b"version: 1\n")).message.startswith(".sluice.yaml line 2, column 1: a is not known here")
    within = bomb(b"version: 1\nenvironments:\n  dev:\n    kustomization:\n      postBuild:\n", b" " * 8)
    assert "holds too much" in refused(within).message


def test_an_anchor_within_itself_is_refused() -> None:
    error = refused(environments("kustomization: {postBuild: &a {x: *a}}"))
    assert "holds too much" in error.message


def test_an_alias_is_as_good_as_what_it_stands_for() -> None:
    text = b"version: 1\nenvironments:\n  a: {path: &p apps}\n  b: {path: *p}"
    assert [each.path for each in read(text).projects[0].environments] == ["apps", "apps"]


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_content_is_too_strange(content: bytes) -> None:
    found: BaseException | None = None
    try:
        read(b"version: 1\n" + content)
        compose(content)
    except (UserError, BrokenYaml) as error:
        found = error
    if isinstance(found, UserError):
        assert found.code == "config_invalid"
        assert "\n" not in found.message


@given(st.text(max_size=30))
def test_an_accepted_path_stays_in_the_repository(path: str) -> None:
    quoted = '"' + "".join(f"\\U{ord(character):08x}" for character in path) + '"'
    try:
        [found] = read(environments(f"path: {quoted}")).projects[0].environments
    except UserError:
        return
    assert not found.path.startswith("/")
    assert ".." not in found.path.split("/")


def test_one_object_is_adopted_once() -> None:
    error = refused(b"version: 1\nenvironments:\n  dev: {adopt: a/b}\n  test: {adopt: a/b}\n")
    assert "environments.test.adopt is adopted as dev already" in error.message
    parse(b"version: 1\nenvironments:\n  dev: {adopt: a/b}\n  test: {adopt: a/b, cluster: edge}\n", "main", "a/web")
