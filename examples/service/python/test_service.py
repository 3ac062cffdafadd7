"""The service as its callers see it."""

from fastapi.testclient import TestClient
from service import app


def test_requests_are_answered_and_failures_harm_nobody() -> None:
    with TestClient(app) as client:
        assert client.post("/shout", content="hello, World").text == "HELLO, WORLD"
        loop = client.post("/shout", content="!")
        assert (loop.status_code, loop.json()["detail"]) == (500, "QuotaExceededError")
        trap = client.post("/shout", content="?")
        assert (trap.status_code, trap.json()["detail"]) == (500, "TrapError")
        assert client.post("/shout", content="x" * 65_537).status_code == 413
        assert client.post("/shout", content="again").text == "AGAIN"
