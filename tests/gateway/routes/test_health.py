"""Health, metrics, and a store that goes away."""

from sqlalchemy import text
from tests.support.gateways import Scripted, ask, until

from copydesk.store import EditStore


def test_metrics_count_requests_policies_and_arms(serve) -> None:
    client = serve(Scripted("a"))
    name = ask(client).json()["id"]
    client.post("/v1/edits", json={"completion_id": name, "edit": "x"})
    client.get("/v1/nothing/of/the/kind")
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    for line in [
        'copydesk_requests_total{route="/v1/chat/completions",status="200"} 1.0',
        'copydesk_requests_total{route="other",status="404"} 1.0',
        'copydesk_policy_seconds_count{policy="a"} 1.0',
        'copydesk_tokens_total{kind="completion",policy="a"} 3.0',
        'copydesk_edit_cost_count{policy="a"} 1.0',
        'copydesk_arm_pulls{arm="a"} 1.0',
        'copydesk_arm_pending{arm="a"} 0.0',
        'copydesk_arm_mean_cost{arm="a"} 1.0',
        'copydesk_arm_available{arm="a"} 1.0',
    ]:
        assert line in lines, line
    from prometheus_client.parser import text_string_to_metric_families

    assert list(text_string_to_metric_families(answer.text))


def test_when_the_store_goes_away_nothing_is_acknowledged_and_it_recovers(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    name = ask(client).json()["id"]
    with store.begin_write() as tx:
        tx.connection.execute(text("ALTER TABLE edits RENAME TO gone"))
        tx.connection.execute(text("ALTER TABLE pulls RENAME TO gone_too"))
    refused = client.post("/v1/edits", json={"completion_id": name, "edit": "x"})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "store_unavailable"
    assert ask(client).status_code == 503
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    with store.begin_write() as tx:
        tx.connection.execute(text("ALTER TABLE gone RENAME TO edits"))
        tx.connection.execute(text("ALTER TABLE gone_too RENAME TO pulls"))
    done = client.post("/v1/edits", json={"completion_id": name, "edit": "x"})
    assert (done.status_code, done.json()["revision"], done.json()["counted"]) == (200, 1, True)
    until(lambda: client.get("/readyz").status_code == 200)
