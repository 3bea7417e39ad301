"""The access log has these fields and no others."""

from litestar.testing import TestClient
from structlog.testing import capture_logs

from tests.web.receiving import BODY, Memory, app, github


def test_a_request_is_one_line_without_the_senders_words() -> None:
    """The pattern of the route, not the path; no header, no body."""
    with capture_logs() as lines, TestClient(app(Memory())) as client:
        client.post("/webhooks/github", content=BODY, headers=github())
        client.post("/webhooks/planted-name?planted=query", content=BODY, headers=github())
        client.get("/planted-path")  # no route: no line
        client.get("/healthz")

    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/webhooks/{forge}", 202),
        ("POST", "/webhooks/{forge}", 404),
    ]
    fields = {"event", "log_level", "method", "route", "status", "size", "milliseconds"}
    assert all(set(line) == fields for line in lines)
    assert "planted" not in str(lines)
