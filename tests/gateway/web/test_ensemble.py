"""The page Ensemble: its plots, its table and its words."""

import re
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import pytest
from tests.support.gateways import Scripted, ask

from copydesk.data.cost import EditCost
from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.limits import CountedRounds
from copydesk.gateway.web import charts, ensemble
from copydesk.gateway.web.charts import EnsembleHistory, draw_costs, draw_pulls, draw_regret, strip_svg_styles
from copydesk.gateway.web.ensemble import ChartCache
from copydesk.gateway.web.templating import describe_ensemble_config
from copydesk.report.style import method_styles
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key

HISTORY = EnsembleHistory.from_pulls(
    [(t, ["base", "sft", "my-own.policy-with-a-long-name"][t % 3], t % 7 / 10) for t in range(1, 61)]
)
LOOKS = method_styles(HISTORY.names)


def play(client, rounds: int) -> None:
    for i in range(rounds):
        completion_id = ask(client, text=f"t{i}").json()["id"]
        client.post("/v1/edits", json={"completion_id": completion_id, "edit": "x " * (i % 4)})


def test_before_anything_happened_it_says_so(serve, seen) -> None:
    page = seen(serve(Scripted("a")).get("/ensemble"))
    assert "Nothing to draw yet" in page.text
    assert not [svg for svg in page.all("svg") if svg.get("class") == "plot"]
    assert "active" in page.text


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_the_first_rounds_are_drawn_as_far_as_they_go(serve, seen, rounds: int) -> None:
    client = serve(Scripted("a"))
    play(client, rounds)
    page = seen(client.get("/ensemble"))
    plots = [svg for svg in page.all("svg") if svg.get("class") == "plot"]
    assert len(plots) == (0 if rounds == 1 else 3)
    assert "no other policy has been edited" in page.text
    assert "-0.00" not in page.text


def test_it_shows_the_statistics_of_each_policy(serve, seen) -> None:
    client = serve(Scripted("base"), Scripted("sft"), Scripted("old"))
    play(client, 12)
    ask(client)
    assert client.delete("/v1/policies/old").status_code == 200
    page = seen(client.get("/ensemble"))
    standing = client.get("/v1/ensemble").json()
    for arm in standing["arms"]:
        assert f"{arm['mean_cost']:.2f}" in page.text
        assert f"{arm['bound']:.2f}" in page.text
    for said in ("retired", "active", "Lower bound", "UCB", "α = 0.42", "7 days", "all users together", "Regret"):
        assert said in page.text
    best = min(standing["arms"], key=lambda arm: arm["mean_cost"])
    assert f"people edit {best['name']} least: its drafts cost {best['mean_cost']:.2f}" in page.text
    labels = [str(svg["aria-label"]) for svg in page.all("svg") if svg.get("class") == "plot"]
    assert [label.split(":")[0] for label in labels] == ["Line plot", "Area plot", "Line plot"]
    assert all("old" in label for label in labels[:2])


def test_everyone_who_may_read_sees_statistics_and_no_text(serve, store: EditStore, seen) -> None:
    client = serve(Scripted("a", lambda request: "answer-word"))
    play(client, 4)
    with store.begin_write() as tx:
        key = create_key(tx.connection, "k", tenant="other", scopes=["read"])[1]
    response = client.get("/ensemble", headers={"authorization": f"Bearer {key}"})
    assert "answer-word" not in response.text
    assert re.search(r"<dt>Rounds</dt><dd>4</dd>", response.text)


def test_it_is_drawn_once_for_each_state_of_the_log(serve, store: EditStore, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(ensemble, "draw_costs", lambda *given: drawn.append(1) or draw_costs(*given))
    client = serve(Scripted("a"))
    play(client, 3)
    pages = {client.get("/ensemble").text for _ in range(3)}
    assert (len(pages), len(drawn)) == (1, 1)
    play(client, 1)
    client.get("/ensemble")
    assert len(drawn) == 2
    shown, nothing = ChartCache(store), (CountedRounds(), frozenset())
    with ThreadPoolExecutor(4) as pool:
        assert len({id(show) for show in pool.map(lambda _: shown.get_charts(99, *nothing), range(8))}) == 1
    assert len(drawn) == 3


@pytest.mark.parametrize("draw", [draw_costs, draw_pulls, draw_regret])
def test_plots_have_no_styles_and_follow_the_page(draw) -> None:
    svg = draw(HISTORY, LOOKS)
    assert "style" not in svg
    assert "currentColor" in svg
    assert "var(--method-868e99, #868e99)" in svg or draw is draw_regret
    assert re.findall(r'font-size="([^"]*)"', svg)
    ElementTree.fromstring(svg.replace("xlink:href", "href"))  # well-formed
    assert not re.search(r' id="(?!p|m[0-9a-f])', svg)


def test_names_at_the_lines_are_escaped_and_short() -> None:
    history = EnsembleHistory.from_pulls([(1, "<b>&\"'", 0.1), (2, "<b>&\"'", 0.2)])
    svg = draw_costs(history, method_styles(history.names))
    assert "<b>" not in svg
    assert "&lt;b&gt;&amp;" in svg
    assert "my-own.policy-w…" in draw_costs(HISTORY, LOOKS)


def test_styles_become_attributes() -> None:
    svg = (
        '<svg viewBox="0 0 1 1" role="img"><defs><style type="text/css">*{x: y}</style></defs><g id="matplotlib.x_1">'
        """<text style="font-size: 10px; font-family: 'A B'; fill: var(--rule, #8885)">style="x"</text></g></svg>"""
    )
    assert strip_svg_styles(svg) == (
        '<svg class="plot" stroke-linejoin="round" stroke-linecap="butt" viewBox="0 0 1 1" role="img"><defs></defs><g>'
        '<text font-size="10px" fill="var(--rule, #8885)">style="x"</text></g></svg>'
    )


def test_a_line_ends_below_the_top() -> None:
    means = [charts.compute_running_mean(HISTORY, name) for name in HISTORY.names]
    assert charts._compute_y_limit(means) > max(line.values[-1] for line in means)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (EnsembleConfig(), ["UCB:", "α = 0.42", "Those of all users together.", "7 days"]),
        (EnsembleConfig(rule="thompson", expiry=None), ["Thompson sampling", "Without limit"]),
        (EnsembleConfig(rule="discounted-ucb", discount=0.9, expiry=3600), ["Discounted UCB", "by 0.9.", "1 hour;"]),
        (EnsembleConfig(rule="fixed", shares={"a": 3, "b": 1, "c": 0}, expiry=90), ["a 75%, b 25%.", "1.5 minutes"]),
        (EnsembleConfig(rule="fixed", expiry=0.5), ["every policy equally often", "0.5 seconds"]),
        (EnsembleConfig(user_limit=0), ["Within 1 hour at most 100,000 of one API key count"]),
        (
            EnsembleConfig(user_limit=5, window=90),
            ["Within 1.5 minutes at most 5 of one user and 100,000 of one API key"],
        ),
        (EnsembleConfig(user_limit=0, key_limit=0), ["every pull and every edit counts"]),
        (EnsembleConfig(scope="user", prior=5), ["Each user's own", "at most 5 edits"]),
    ],
)
def test_settings_are_described_in_words(settings: EnsembleConfig, words: list[str]) -> None:
    told = " ".join(describe_ensemble_config(settings, EditCost(cap=3)).values())
    for word in [*words, "Changed tokens, divided by the length of the response, at most 3."]:
        assert word in told
