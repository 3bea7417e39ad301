"""Edits of one value in a file: what is asked for, nothing else, or a clear refusal."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bot.core.edits import (
    Edits,
    Image,
    Scope,
    Setting,
    edited,
    no_lookalikes,
    parse_image,
    parse_setting,
    wanted,
)
from bot.core.errors import UserError
from bot.core.ports import Tree, TreeEntry

ROOT = "deploy/production"
PATH = f"{ROOT}/kustomization.yaml"
SCOPE = Scope(root=ROOT)
DIGEST = "sha256:" + "a" * 64


def with_image(text: str | bytes, wish: str, path: str = PATH) -> Edits:
    content = text.encode() if isinstance(text, str) else text
    return edited({path: content}, SCOPE, [parse_image(wish)], [])


def image_text(text: str, wish: str, path: str = PATH) -> str:
    return with_image(text, wish, path).files[path].decode()


def refusal(text: str | bytes, wish: str = "web=2", path: str = PATH) -> str:
    with pytest.raises(UserError) as caught:
        with_image(text, wish, path)
    return f"{caught.value.code}: {caught.value.message}"


# How wishes are written.


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("web=1.2.3", Image(name="web", tag="1.2.3")),
        ("ghcr.io/acme/web=v1", Image(name="ghcr.io/acme/web", tag="v1")),
        ("web=ghcr.io/acme/web:1.2", Image(name="web", new_name="ghcr.io/acme/web", tag="1.2")),
        ("web=localhost:5000/web", Image(name="web", new_name="localhost:5000/web")),
        ("web=localhost:5000/web:1", Image(name="web", new_name="localhost:5000/web", tag="1")),
        (f"web={DIGEST}", Image(name="web", digest=DIGEST)),
        (f"web=@{DIGEST}", Image(name="web", digest=DIGEST)),
        (f"web=ghcr.io/acme/web@{DIGEST}", Image(name="web", new_name="ghcr.io/acme/web", digest=DIGEST)),
        ("flux-system:web=2", Image(name="flux-system:web", tag="2")),
    ],
)
def test_images_as_people_write_them(text: str, image: Image) -> None:
    assert parse_image(text) == image


@pytest.mark.parametrize(
    "text",
    [
        *("", "web", "web=", "=1", "web=a b", "web=-1", "we b=1", "web=x" * 100, "web=1\n2", "web=sha256:abc"),
        *(f"web=acme/web:1@{DIGEST}", "web=a/b:", "web=../x", "web=1#2", "web=A/b:1", "web='1'", "web=1: 2", "web=ü"),
    ],
)
def test_what_is_no_image(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_image(text)
    assert caught.value.code == "usage"


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("replicas=3", Setting(path=("replicas",), value="3")),
        ("image.tag=1=2", Setting(path=("image", "tag"), value="1=2")),
        ("a\\.b.c=x", Setting(path=("a.b", "c"), value="x")),
        ("hosts[0].name=x", Setting(path=("hosts", "0", "name"), value="x")),
        ("a[1][2]=", Setting(path=("a", "1", "2"), value="")),
        ("values.yaml:a.b=x y", Setting(path=("a", "b"), value="x y", file="values.yaml")),
    ],
)
def test_settings_as_people_write_them(text: str, setting: Setting) -> None:
    assert parse_setting(text) == setting


@pytest.mark.parametrize(
    "text", ["", "a", "=1", "a.=1", ".a=1", "a..b=1", "a[x]=1", "a[1=2", "a=1\n2", "a=" + "x" * 501]
)
def test_what_is_no_setting(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_setting(text)
    assert caught.value.code == "usage"


# Kustomize's images.

KUSTOMIZATION = """\
# the production of web
resources:   [ ../base ]
images:
    # bumped by hand
  - name: api
    newTag: "0.9"   # old

  - newTag: 1.0.0 # the one
    name:   'web'
    newName:  ghcr.io/acme/web
  - name: db
    digest: sha256:bbbb
  - name: bare   # nothing yet
namespace: production"""  # and no line end


def test_a_tag() -> None:
    assert image_text(KUSTOMIZATION, "web=1.1.0") == KUSTOMIZATION.replace("1.0.0", "1.1.0")
    assert image_text(KUSTOMIZATION, "api=1") == KUSTOMIZATION.replace('"0.9"', '"1"')
    (change,) = with_image(KUSTOMIZATION, "web=1.1.0").changes
    assert (change.file, change.old, change.new) == (PATH, "1.0.0", "1.1.0")


def test_a_name_and_a_tag() -> None:
    made = image_text(KUSTOMIZATION, "web=ghcr.io/acme/www:2.0")
    assert made == KUSTOMIZATION.replace("1.0.0", "'2.0'").replace("ghcr.io/acme/web", "ghcr.io/acme/www")


def test_a_digest_and_a_tag_take_each_others_place() -> None:
    assert image_text(KUSTOMIZATION, "db=7.1.2") == KUSTOMIZATION.replace("digest: sha256:bbbb", "newTag: 7.1.2")
    assert image_text(KUSTOMIZATION, f"web={DIGEST}") == KUSTOMIZATION.replace("newTag: 1.0.0", f"digest: {DIGEST}")


def test_a_line_of_its_own() -> None:
    bare = "  - name: bare   # nothing yet\n"
    assert image_text(KUSTOMIZATION, "bare=1.1.1") == KUSTOMIZATION.replace(bare, f"{bare}    newTag: 1.1.1\n")
    assert image_text("images:\r\n- name: web", "web=v1") == "images:\r\n- name: web\r\n  newTag: v1"


@pytest.mark.parametrize("tag", ["1.10", "12e4567", "0755", "true", "on", "1_000", "20240101", "0x1F", "null", "1"])
def test_tags_that_readers_would_take_for_something_else(tag: str) -> None:
    assert f"newTag: '{tag}' # the one" in image_text(KUSTOMIZATION, f"web={tag}")


def test_what_is_so_already_is_no_change() -> None:
    assert with_image(KUSTOMIZATION, "web=1.0.0") == Edits(files={}, changes=())


def test_refusals() -> None:
    assert refusal(KUSTOMIZATION, "www=1").startswith("image_missing: there is no image `www`")
    assert "`api`, `bare`, `db`, `web`" in refusal(KUSTOMIZATION, "www=1")
    assert refusal("images:\n- name: web\n- name: web\n").startswith("image_ambiguous")
    assert refusal("images: [{name: web, newTag: '1'}]\n").startswith("edit_unsupported")
    assert refusal("images:\n- {name: web, newTag: '1'}\n").startswith("edit_unsupported")
    assert refusal("images: &i\n- name: web\n  newTag: '1'\nother: *i\n").startswith("edit_unsupported")
    assert refusal("images:\n- name: web\n  newTag: &t '1'\nx: *t\n").startswith("edit_unsupported")
    assert refusal("images:\n- name: web\n  newTag: !!str 1\n").startswith("edit_unsupported")
    assert refusal("images:\n- name: web\n  newTag: |\n    1\n").startswith("edit_unsupported")
    assert refusal("images:\n- name: web\n  newTag: >-\n    1\n").startswith("edit_unsupported")
    assert refusal("images:\n- name: web\n  newTag: '1\n\n    2'\n").startswith("edit_unsupported")
    assert refusal("images:\n- name: web\n  newTag: [1]\n").startswith("edit_unsupported")
    assert refusal("images:\n- name: web\n  newTag: '1'\n  digest: x\n").startswith("edit_unsupported")
    assert refusal("images: {}\n").startswith(("edit_unsupported", "image_missing"))
    assert refusal("images:\n- name: web\n---\nimages: []\n").startswith("edit_unsupported")
    assert refusal("images:\n- name: web\n  <<: {}\n").startswith("edit_unsupported")
    assert refusal("images: [\n").startswith("edit_unsupported")
    assert refusal(b"images: \xff\n").startswith("edit_unsupported")
    assert refusal("images: 'no list'\n").startswith("edit_unsupported")
    assert refusal("images:\n").startswith("image_missing")
    assert refusal("resources: []\n").startswith("image_missing")


# Flux's markers.

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
      - name: web
        image: ghcr.io/acme/web:1.0.0 # {"$imagepolicy": "flux-system:web"}
      - name: "side"
        image: "localhost:5000/side@sha256:0" # {"$imagepolicy": "flux-system:side"}
"""
VALUES = """\
image:
  repository: ghcr.io/acme/web  # {"$imagepolicy": "flux-system:web:name"}
  tag: '1.0.0'  # {"$imagepolicy": "flux-system:web:tag"}
  note: 1.0.0  # {"$other": "flux-system:web:tag"}
  text: 'x # {"$imagepolicy": "flux-system:web:tag"}'
"""
WEB, SIDE = f"{ROOT}/web.yaml", f"{ROOT}/values.yaml"


def test_a_marker_of_a_whole_image() -> None:
    assert image_text(MANIFEST, "ghcr.io/acme/web=2.0.0", WEB) == MANIFEST.replace("web:1.0.0", "web:2.0.0")
    assert image_text(MANIFEST, "flux-system:web=2.0.0", WEB) == MANIFEST.replace("web:1.0.0", "web:2.0.0")
    made = image_text(MANIFEST, "localhost:5000/side=2", WEB)
    assert made == MANIFEST.replace("localhost:5000/side@sha256:0", "localhost:5000/side:2")


def test_markers_of_parts_in_every_file() -> None:
    """One policy sets them all, as Flux would."""
    found = edited({WEB: MANIFEST.encode(), SIDE: VALUES.encode()}, SCOPE, [parse_image("ghcr.io/acme/web=2.0.0")], [])
    assert found.files[WEB].decode() == MANIFEST.replace("web:1.0.0", "web:2.0.0")
    assert found.files[SIDE].decode() == VALUES.replace("'1.0.0'", "'2.0.0'")
    made = image_text(VALUES, "flux-system:web=ghcr.io/acme/www:2.0.0", SIDE)
    assert made == VALUES.replace("'1.0.0'", "'2.0.0'").replace("acme/web ", "acme/www ")


def test_a_marker_that_cannot_say_it() -> None:
    assert refusal(VALUES, f"ghcr.io/acme/web={DIGEST}", SIDE).startswith("edit_unsupported")
    assert refusal(MANIFEST, "web=2", WEB).startswith("image_missing")
    assert "`ghcr.io/acme/web`, `localhost:5000/side`" in refusal(MANIFEST, "web=2", WEB)


def test_a_kustomization_overrules_markers() -> None:
    text = "images:\n- name: ghcr.io/acme/web\n  newTag: 1.0.0\n"
    found = edited({PATH: text.encode(), WEB: MANIFEST.encode()}, SCOPE, [parse_image("ghcr.io/acme/web=2.0.0")], [])
    assert {path: content.decode() for path, content in found.files.items()} == {PATH: text.replace("1.0.0", "2.0.0")}


# Settings.

RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web}
spec:
  values:
    replicas: 2 # per zone
    image:
      tag: "1.0"
    hosts:
    - name: a.test
      tls: false
    empty:
    motto: be quick
"""
CHART = f"{ROOT}/release.yaml"


def set_text(text: str, wish: str, path: str = CHART, scope: Scope = SCOPE) -> str:
    return edited({path: text.encode()}, scope, [], [parse_setting(wish)]).files[path].decode()


@pytest.mark.parametrize(
    ("wish", "old", "new"),
    [
        ("replicas=3", "replicas: 2", "replicas: 3"),
        ("replicas=many", "replicas: 2", "replicas: many"),
        ("replicas=0755", "replicas: 2", "replicas: '0755'"),
        ("image.tag=1.10", '"1.0"', '"1.10"'),
        ('image.tag=a"b', '"1.0"', '"a\\"b"'),
        ("hosts[0].tls=true", "tls: false", "tls: true"),
        ("hosts.0.tls=yes", "tls: false", "tls: 'yes'"),
        ("hosts[0].name=b.test", "name: a.test", "name: b.test"),
        ("empty=x", "empty:\n", "empty: x\n"),
        ("motto=a: b # c", "be quick", "'a: b # c'"),
        ("motto=5", "be quick", "'5'"),
        ("motto=", "be quick", "''"),
        ("release.yaml:spec.values.replicas=4", "replicas: 2", "replicas: 4"),
    ],
)
def test_a_setting(wish: str, old: str, new: str) -> None:
    assert set_text(RELEASE, wish) == RELEASE.replace(old, new)


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ("nothing=1", "setting_missing"),
        ("hosts[1].tls=1", "setting_missing"),
        ("replicas.x=1", "setting_missing"),
        ("image=1", "edit_unsupported"),
        ("other.yaml:a=1", "setting_missing"),
        ("../staging/x.yaml:a=1", "path_outside"),
        ("/etc/passwd:a=1", "path_outside"),
        ("./release.yaml:a=1", "path_outside"),
    ],
)
def test_a_setting_that_cannot_be(wish: str, code: str) -> None:
    tree = Tree(entries={CHART: TreeEntry("blob", "1"), "deploy/staging/x.yaml": TreeEntry("blob", "2")})
    with pytest.raises(UserError) as caught:
        _set(wish, tree)
    assert caught.value.code == code


def _set(wish: str, tree: Tree) -> None:
    wanted(tree, SCOPE, [parse_setting(wish)])
    edited({CHART: RELEASE.encode()}, SCOPE, [], [parse_setting(wish)])


def test_the_last_file_of_values_that_has_it() -> None:
    scope = Scope(root=ROOT, values=("charts/values.yaml", "charts/production.yaml"))
    files = {"charts/values.yaml": b"a: 1\nb: 1\n", "charts/production.yaml": b"a: 2\n", CHART: RELEASE.encode()}
    made = edited(files, scope, [], [parse_setting("a=3"), parse_setting("b=4")])
    assert made.files == {"charts/values.yaml": b"a: 1\nb: 4\n", "charts/production.yaml": b"a: 3\n"}


def test_two_releases_need_a_name() -> None:
    files = {f"{ROOT}/{name}.yaml": RELEASE.encode() for name in "ab"}
    with pytest.raises(UserError) as caught:
        edited(files, SCOPE, [], [parse_setting("replicas=3")])
    assert caught.value.code == "setting_ambiguous"
    made = edited(files, SCOPE, [], [parse_setting("b.yaml:spec.values.replicas=3")])
    assert list(made.files) == [f"{ROOT}/b.yaml"]


# Which files may be touched.


def test_only_files_of_the_environment_are_read() -> None:
    kinds = {
        PATH: TreeEntry("blob", "1"),
        f"{ROOT}/link.yaml": TreeEntry("blob", "2", "120000"),
        f"{ROOT}/sub": TreeEntry("tree", "3"),
        f"{ROOT}/sub/x.yml": TreeEntry("blob", "4", "100755"),
        f"{ROOT}/module.yaml": TreeEntry("commit", "5"),
        f"{ROOT}/README.md": TreeEntry("blob", "6"),
        f"{ROOT}-old/kustomization.yaml": TreeEntry("blob", "7"),
        "deploy/base/kustomization.yaml": TreeEntry("blob", "8"),
        "charts/values.yaml": TreeEntry("blob", "9"),
    }
    tree = Tree(entries=kinds)
    assert wanted(tree, SCOPE, []) == [PATH, f"{ROOT}/sub/x.yml"]
    assert wanted(tree, Scope(root=ROOT, values=("charts/values.yaml",)), []) == [
        "charts/values.yaml",
        PATH,
        f"{ROOT}/sub/x.yml",
    ]
    for name in ("link.yaml", "module.yaml", "sub"):
        with pytest.raises(UserError) as caught:
            wanted(tree, SCOPE, [Setting(path=("a",), value="1", file=name)])
        assert caught.value.code == "path_outside"


def test_names_that_some_systems_take_for_one() -> None:
    tree = Tree(entries={f"{ROOT}/{name}": TreeEntry("blob", "1") for name in ("Web.yaml", "web.yaml", "other.yaml")})
    no_lookalikes(tree, [f"{ROOT}/other.yaml"])
    with pytest.raises(UserError) as caught:
        no_lookalikes(tree, [f"{ROOT}/web.yaml"])
    assert caught.value.code == "path_outside"


ODD = st.sampled_from(["..", ".", "", "a", "B", "é", "é", ".git", ".GIT", "\0", "\\", "\u202e", "deploy", "production"])


@given(st.lists(ODD, max_size=8), st.booleans())
def test_no_name_leads_out(parts: list[str], absolute: bool) -> None:
    """Whatever is written, the file lies below the environment's path, under the name that was written."""
    name = ("/" if absolute else "") + "/".join(parts)
    try:
        path = SCOPE.file(name)
    except UserError:
        return
    assert path == f"{ROOT}/{name}"
    assert not {"..", ".", "", ".git"} & {part.lower() for part in name.split("/")}
    assert name.isprintable()


# Nothing else differs, whatever the file looks like.

WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}[A-Za-z0-9]", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
QUOTES = st.sampled_from(["plain", "'", '"'])
COMMENTS = st.sampled_from(["", " # why: because", "  #{x}"])
BREAKS = st.sampled_from(["\n", "\r\n"])
INDENTS = st.sampled_from(["", "  ", "      "])


@st.composite
def kustomizations(draw: st.DrawFn) -> tuple[bytes, int]:
    """A kustomization in somebody's style, and which of its images is meant."""
    brk, indent = draw(BREAKS), draw(INDENTS)
    count = draw(st.integers(1, 4))
    lines = draw(st.lists(st.sampled_from(["# a comment", "", "namespace: ü", "resources: [a, b]"]), unique=True))
    lines += ["images:"]
    for number in range(count):
        tag, quote = draw(TAGS), draw(QUOTES)
        shown = repr(tag) if quote == "plain" else f"{quote}{tag}{quote}"
        entries = [f"name: image{number}{draw(COMMENTS)}"]
        if draw(st.booleans()):
            entries.append(f"newTag: {shown}{draw(COMMENTS)}")
        if draw(st.booleans()):
            entries.insert(draw(st.integers(0, len(entries))), f"newName:   other/{number}{draw(COMMENTS)}")
        lines += [f"{indent}- {entries[0]}", *(f"{indent}  {each}" for each in entries[1:])]
        lines += draw(st.sampled_from([[], [""], [f"{indent}# between"]]))
    lines += draw(st.sampled_from([[], ["labels: {a: b}"], ["last: 'x'   # end"]]))
    text = brk.join(lines) + draw(st.sampled_from(["", brk, brk * 2]))
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return mark + text.encode(), draw(st.integers(0, count - 1))


@given(kustomizations(), TAGS)
def test_only_the_tag_differs(given_: tuple[bytes, int], tag: str) -> None:
    content, number = given_
    name = f"image{number}"
    made = edited({PATH: content}, SCOPE, [Image(name=name, tag=tag)], []).files.get(PATH, content)

    wish = yaml.load(content, Loader=yaml.CSafeLoader)
    wish["images"][number]["newTag"] = tag
    assert yaml.load(made, Loader=yaml.CSafeLoader) == wish
    assert yaml.load(made, Loader=yaml.CBaseLoader) == _as_text(
        yaml.load(content, Loader=yaml.CBaseLoader), number, tag
    )
    _one_place_differs(content, made)
    assert edited({PATH: made}, SCOPE, [Image(name=name, tag=tag)], []).files == {}


def _as_text(parsed: dict[str, list[dict[str, str]]], number: int, tag: str) -> object:
    parsed["images"][number]["newTag"] = tag
    return parsed


def _one_place_differs(old: bytes, new: bytes) -> None:
    """What comes before the change and what comes after it are the same bytes, and the change is within one line."""
    start = next(
        (at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new))
    )
    rest_old, rest_new = old[start:], new[start:]
    same = 0
    while same < min(len(rest_old), len(rest_new)) and rest_old[-1 - same] == rest_new[-1 - same]:
        same += 1
    gone, came = rest_old[: len(rest_old) - same], rest_new[: len(rest_new) - same]
    assert b"\n" not in gone
    assert came.count(b"\n") <= 1


SCALARS = st.one_of(
    st.integers(-5, 10**6).map(str),
    st.sampled_from(
        ["true", "false", "null", "~", "yes", "1.5", "''", '""', "'it''s'", '"a\\tb"', "plain text", "ü: 1"]
    ),
    WORDS,
)
VALUE = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"]),
    max_size=20,
)


@given(st.lists(SCALARS, min_size=1, max_size=5), st.data(), BREAKS, COMMENTS)
def test_only_the_setting_differs(values: list[str], data: st.DataObject, brk: str, comment: str) -> None:
    number = data.draw(st.integers(0, len(values) - 1))
    value = data.draw(st.one_of(VALUE, SCALARS))
    safe = [each if ": " not in each else f"'{each}'" for each in values]
    lines = [
        "a: {x: [1, 2]}",
        "deep:",
        *(f"  k{at}: {each}{comment}" for at, each in enumerate(safe)),
        "- no"[:0] + "z: |",
        "  text",
    ]
    content = brk.join(lines).encode()
    path = f"{ROOT}/values.yaml"
    setting = Setting(path=("deep", f"k{number}"), value=value, file="values.yaml")
    found = edited({path: content}, SCOPE, [], [setting])
    made = found.files.get(path, content)
    old, new = (yaml.load(each, Loader=yaml.CBaseLoader) for each in (content, made))
    assert new["deep"].pop(f"k{number}") == value
    old["deep"].pop(f"k{number}")
    assert new == old
    typed = yaml.load(made, Loader=yaml.CSafeLoader)["deep"][f"k{number}"]
    before = yaml.load(content, Loader=yaml.CSafeLoader)["deep"][f"k{number}"]
    if isinstance(before, str):
        assert typed == value
    _one_place_differs(content, made)
