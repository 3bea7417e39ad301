"""Charts in the repository, by the real helm-controller: enabled, pushed, failing, pinned, disabled.

Only what packages the charts is a stand-in: source-controller cannot be built from public modules alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.harness import Shop, Sluice
from tests.servers.control_plane import ControlPlane
from tests.servers.helm import HelmFlux
from tests.servers.objects import Object

pytestmark = pytest.mark.e2e

CONFIG = (
    "version: 1\nenvironments:\n  development:\n    timeout: 30s\n"
    "    helm: {chart: charts/web, values: [charts/web/values.yaml, deploy/values.yaml]}\n"
)
TEMPLATE = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config, namespace: {{ .Release.Namespace }}}\n"
    'data: {said: {{ required "say something" .Values.said | quote }}}\n'
)


def says(text: str) -> dict[str, str]:
    return {"deploy/values.yaml": f"said: {text}\n"}


START = {
    ".sluice.yaml": CONFIG,
    "charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.2.0\n",
    "charts/web/values.yaml": "said: default\n",
    "charts/web/templates/config.yaml": TEMPLATE,
    **says("first"),
}


@pytest.fixture
def flux(control_plane: ControlPlane) -> Iterator[HelmFlux]:
    with HelmFlux(control_plane) as started:
        yield started


class Chart(Shop):
    """A shop that is a chart."""

    def release(self) -> Object:
        return self._object("HelmRelease", "development")

    def said(self) -> str:
        found = self.in_target("development", "ConfigMap", "config")
        return str(found["data"]["said"]) if found else ""


@pytest.mark.timeout(400)
def test_a_chart_in_the_repository(own_sluice: Callable[..., Sluice], flux: HelmFlux) -> None:
    """From `/enable` to `/disable`; what was said of each commit is what helm-controller made of it."""
    shop = Chart(own_sluice(), START)
    try:
        number = shop.enable(["development"])
        assert shop.said() == "first"
        newest = shop.release()["status"]["history"][0]
        assert (newest["chartVersion"], newest["status"]) == (f"1.2.0+{shop.head()[:12]}", "deployed")

        commit = shop.push(says("second"))
        assert shop.ended(commit, "development")[0] == "success"
        assert shop.said() == "second"

        commit = shop.push({"deploy/values.yaml": "said: ''\n"})
        state, text = shop.ended(commit, "development")
        assert state == "failure"
        assert "say something" in text
        assert shop.said() == "second"

        commit = shop.push(says("mended"))
        assert shop.ended(commit, "development")[0] == "success"
        assert shop.said() == "mended"

        request = shop.pull(says("topic"), branch="topic")
        shop.say(request, "/deploy development")
        assert shop.ended(shop.head("topic"), "development")[0] == "success"
        assert shop.said() == "topic"

        shop.say(number, "/disable")
        shop.answered(number, "GitOps is disabled")
        for kind in ("HelmRelease", "HelmChart", "GitRepository"):
            assert [one for one in shop.plane.admin.list(kind) if one["metadata"]["namespace"] == shop.namespace] == []
        assert shop.said() == "topic"
    except BaseException as error:
        error.add_note(flux.tail())
        raise
