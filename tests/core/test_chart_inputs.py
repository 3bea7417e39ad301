"""What an environment that is a chart depends on: its folder, the charts beside it, and files of values."""

import pytest

from bot.core.chart_inputs import FollowingChart
from bot.core.inputs import Inputs
from bot.core.ports import Tree, TreeEntry
from tests.core.test_inputs import tree_of


def follow(files: dict[str, str], chart: str | None = "charts/web", values: tuple[str, ...] = ()) -> Inputs:
    """The inputs, after everything that was wanted was read."""
    following = FollowingChart(tree_of(files), chart, values)
    while following.wanted:
        for path in sorted(following.wanted):
            following.feed(path, files[path].encode())
    return following.result


CHART = {"charts/web/Chart.yaml": "name: web\nversion: 1.0.0\n", "charts/web/templates/a.yaml": "x"}
COMMON = {"charts/common/Chart.yaml": "name: common\ndependencies: [{name: web, repository: 'file://../web'}]\n"}


def test_the_folder_and_its_values() -> None:
    found = follow({**CHART, "deploy/values.yaml": "a: 1", "other.txt": "x"}, values=("deploy/values.yaml",))
    assert list(found.paths) == ["charts/web", "deploy/values.yaml"]
    assert all(found.paths.values())
    assert not found.missing


def test_charts_beside_it_in_a_circle() -> None:
    """Each chart's folder counts once."""
    needs = "name: web\ndependencies:\n- {name: common, repository: 'file://../common'}\n- {repository: https://x}\n"
    found = follow({**CHART, **COMMON, "charts/web/Chart.yaml": needs})
    assert list(found.paths) == ["charts/common", "charts/web"]


@pytest.mark.parametrize("content", ["[", "- a", "dependencies: 7", "dependencies: [7, {repository: 7}]", ""])
def test_a_chart_file_that_says_nothing(content: str) -> None:
    """Flux refuses it in its own words; the folder counts anyway."""
    assert list(follow({**CHART, "charts/web/Chart.yaml": content}).paths) == ["charts/web"]


def test_what_is_missing() -> None:
    found = follow(CHART, "charts/gone", ("deploy/values.yaml", "charts/web"))
    assert found.missing
    assert found.paths == {"charts/gone": "", "deploy/values.yaml": "", "charts/web": ""}


def test_a_chart_from_elsewhere() -> None:
    """Only its values lie here."""
    assert list(follow({**CHART, "v.yaml": "a: 1"}, None, ("v.yaml",)).paths) == ["v.yaml"]


def test_a_tree_that_is_not_whole() -> None:
    tree = Tree(entries={"": TreeEntry(kind="tree", oid="r")}, truncated=True)
    assert FollowingChart(tree, "charts/web", ()).result.whole_repository
