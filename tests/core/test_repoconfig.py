"""`.sluice.yaml`: what is understood, what is refused, and where it says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import UserError
from bot.core.repoconfig import BrokenYaml, Config, Environment, compose, default_environments, parse


def environments(*lines: str) -> bytes:
    """A file for one environment `dev` with these fields from line 4 on."""
    return "\n".join(["version: 1", "environments:", "  dev:", *(f"    {line}" for line in lines)]).encode()


def refused(content: bytes, namespace: str = "") -> UserError:
    with pytest.raises(UserError) as caught:
        parse(content, "main", namespace)
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
    assert parse(b"version: 1", "main") == Config(environments=default_environments("main"))
    assert parse(b"\xef\xbb\xbfversion: 1\r\n", "main") == Config(environments=default_environments("main"))
    assert parse(b"version: 1\nprojects: {web: {}}", "main") == Config(
        project="web", environments=default_environments("main")
    )


def test_everything_that_is_supported() -> None:
    text = b"""
version: 1
projects:
  web:
    environments:
      development: { path: ./apps//web/dev/ }
      staging:
      production:
        path: apps/web/production
        branch: release/1.x
        namespace: web-production
        cluster: eu
        service_account: web.deployer
        interval: 1h30m
        timeout: 90s
"""
    config = parse(text, "main")
    assert config.project == "web"
    assert config.environments == (
        Environment(name="development", path="apps/web/dev", branch="main", service_account="sluice-development"),
        Environment(name="staging", path="deploy/staging", branch="main", service_account="sluice-staging"),
        Environment(
            name="production", path="apps/web/production", branch="release/1.x", namespace="web-production",
            cluster="eu", service_account="web.deployer", interval="1h30m", timeout="90s",
        ),
    )  # fmt: skip
    assert config.environments[2].target_namespace("project-0a1b2c3d") == "web-production"


def test_environments_of_a_single_project() -> None:
    [found] = parse(environments("path: ."), "main").environments
    assert found.path == "."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("approvals", "2"), ("approvers", "[a]"), ("deployers", "[a]"), ("after", "x"), ("deploy_from", "merged"),
        ("freeze", "[x]"), ("forks", "false"), ("checks", "[x]"), ("up_to_date", "true"), ("reviews_count", "true"),
        ("auto_sync", "false"), ("kustomization", "{}"), ("helm", "{}"), ("adopt", "a/b"), ("git", "deploy_key"),
    ],
)  # fmt: skip
def test_a_gate_that_is_not_kept_yet_is_refused(field: str, value: str) -> None:
    error = refused(environments("path: x", f"{field}: {value}"))
    assert error.code == "config_unsupported"
    assert error.message.startswith(f".sluice.yaml line 5: environments.dev.{field}: `{field}` is not supported")


def test_several_projects_are_refused() -> None:
    error = refused(b"version: 1\nprojects:\n  web: {}\n  api: {}")
    assert error.code == "config_unsupported"
    assert error.message.startswith(".sluice.yaml line 4: projects.api: several projects in one repository are not")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the file is empty; it must say at least `version: 1`"),
        (b"# nothing", "line 1: the file is empty; it must say at least `version: 1`"),
        (b"- a", "line 1: the file must be a mapping (key: value)"),
        (b"text", "line 1: the file must be a mapping (key: value)"),
        (b"{}", "line 1: version is missing; it must be 1"),
        (b"version: 2", "line 1: version must be 1"),
        (b"version: '1'", "line 1: version must be 1"),
        (b"version: 1.0", "line 1: version must be 1"),
        (b"version: [1]", "line 1: version must be a number"),
        (b"version: 1\nproject: x", "line 2: project is not known here; known are version, projects, environments"),
        (b"version: 1\nversion: 1", "line 2: version is there twice"),
        (b"version: 1\n1: x", "line 2: the file has a key that is no text"),
        (b"version: 1\n[a]: x", "line 2: the file has a key that is no text"),
        (b"version: 1\nprojects: []", "line 2: projects must be a mapping (key: value)"),
        (b"version: 1\nprojects: {}", "line 2: projects must name one project (or leave `projects` out)"),
        (b"version: 1\nprojects: {Web: {}}", "line 2: projects.Web must be named with at most 50 lower-case letters"),
        (b"version: 1\nprojects: {web: {x: 1}}", "line 2: projects.web.x is not known here; known are environments"),
        (b"version: 1\nprojects: {web: {}}\nenvironments: {}", "line 3: environments must stand below its project"),
        (b"version: 1\nenvironments: {}", "line 2: environments must name at least one environment"),
        (b"version: 1\nenvironments: dev", "line 2: environments must be a mapping (key: value)"),
        (b"version: 1\nenvironments: {dev: x}", "line 2: environments.dev must be a mapping (key: value)"),
        (b"version: 1\nenvironments: {De v: {}}", "line 2: environments.De v must be named with at most 40"),
        (b"version: 1\nenvironments: {-a: {}}", "line 2: environments.-a must be named with at most 40"),
        (b"version: 1\nenvironments: {a: {}, a: {}}", "line 2: environments.a is there twice"),
        (b"version: 1\nenvironments:\n  " + b"a" * 41 + b": {}", "line 3: environments."),
        (b"version: 1\na: &a {x: 1}\n<<: *a", "line 3: merge keys (<<) are not supported"),
        (b"version: 1\n---\nversion: 1", "line 2: the file holds more than one document"),
        (b"version: 1\nx: [", "line 3: did not find expected node content"),
        (b"version: 1\nx: 'a\n", "line 3: found unexpected end of stream"),
        (b"version: 1\nx: *y", "line 2: found undefined alias"),
        (b"version: 1\nx: \x00", "line 2: the file holds a NUL"),
        (b"version: 1\nx: \xff", "line 2: the file is not UTF-8"),
        ("version: 1".encode("utf-16"), "line 1: the file is not UTF-8"),
        (b"version: 1\n# \x07", "line 1: control characters are not allowed"),
        (b"version: 1\nx: " + b"[" * 100_000, "line 2: the file is nested more than 64 levels deep"),
        (b"version: 1\nx: " + b"- " * 100_000, "line 2: "),
        (b"version: 1\n" + b"#" * 1_000_000, "line 1: the file is larger than 1,000,000 bytes"),
        (b"version: 1\n\x1b[31m: x", "line 1: control characters are not allowed"),
        (b"version: 1\n\"a\\u202eb\": x", "line 2: a\ufffdb is not known here"),
        (b"version: 1\n" + b"x" * 99 + b": y", "line 2: " + "x" * 59 + "… is not known here"),
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
        ("path: ''", "path must be a folder"),
        ("path: " + "x" * 1025, "path must be a folder"),
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
        ("namespace: Web", "namespace must be at most 63 lower-case letters"),
        ("namespace: web_prod", "namespace must be at most 63"),
        ("namespace: -web", "namespace must be at most 63"),
        ("namespace: web-", "namespace must be at most 63"),
        ("namespace: web.prod", "namespace must be at most 63"),
        ("namespace: ''", "namespace must be at most 63"),
        ("namespace: " + "x" * 64, "namespace must be at most 63"),
        ("namespace: 12", "namespace must be text; put 12 into quotes"),
        ("namespace: wéb", "namespace must be at most 63"),
        ("cluster: a/b", "cluster must be at most 63"),
        ("service_account: Web", "service_account must be the name of a service account"),
        ("service_account: a..b", "service_account must be the name of a service account"),
        ("service_account: system:admin", "service_account must be the name of a service account"),
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
        ("Path: a", "Path is not known here; known are path, branch, namespace"),
        ("suspend: true", "suspend is not known here"),
    ],
)
def test_a_broken_field_is_named(line: str, problem: str) -> None:
    error = refused(environments("# a remark", line))
    assert error.code == "config_invalid"
    assert error.message.startswith(f".sluice.yaml line 5: environments.dev.{problem}")


def test_a_field_of_a_named_project_has_its_whole_path() -> None:
    error = refused(b"version: 1\nprojects:\n  web:\n    environments:\n      dev:\n        path: /x")
    assert error.message.startswith(".sluice.yaml line 6: projects.web.environments.dev.path must not")


def test_two_environments_with_one_target_are_refused() -> None:
    text = "version: 1\nenvironments:\n  a: {namespace: web}\n  b: {namespace: web%s}"
    error = refused((text % "").encode())
    assert error.message == ".sluice.yaml line 4: environments.b.namespace web is the target of a, too"
    assert len(parse((text % ", cluster: eu").encode(), "main").environments) == 2
    hidden = b"version: 1\nenvironments:\n  a: {namespace: project-12345678-b}\n  b: {}"
    assert len(parse(hidden, "main").environments) == 2
    error = refused(hidden, "project-12345678")
    assert error.message.endswith("line 4: environments.b.namespace project-12345678-b is the target of a, too")


def test_there_are_at_most_fifty_environments() -> None:
    text = "version: 1\nenvironments:\n" + "".join(f"  e{number}: {{}}\n" for number in range(51))
    assert refused(text.encode()).message.startswith(".sluice.yaml line 53: environments.e50 is one too many")


def test_anchors_do_not_explode() -> None:
    bomb = b"version: 1\na: &a [x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(20)
    )
    assert refused(bomb).message.startswith(".sluice.yaml line 2: a is not known here")


def test_an_alias_is_as_good_as_what_it_stands_for() -> None:
    text = b"version: 1\nenvironments:\n  a: {path: &p apps}\n  b: {path: *p}"
    assert [each.path for each in parse(text, "main").environments] == ["apps", "apps"]


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_content_is_too_strange(content: bytes) -> None:
    found: BaseException | None = None
    try:
        parse(b"version: 1\n" + content, "main")
        compose(content)
    except (UserError, BrokenYaml) as error:
        found = error
    if isinstance(found, UserError):
        assert found.code in ("config_invalid", "config_unsupported")
        assert "\n" not in found.message


@given(st.text(max_size=30))
def test_an_accepted_path_stays_in_the_repository(path: str) -> None:
    quoted = '"' + "".join(f"\\U{ord(character):08x}" for character in path) + '"'
    try:
        [found] = parse(environments(f"path: {quoted}"), "main").environments
    except UserError:
        return
    assert not found.path.startswith("/")
    assert ".." not in found.path.split("/")
