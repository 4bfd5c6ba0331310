from typing import Any

from copydesk.data.record import Message
from copydesk.policies import Policy, Sampling
from copydesk.policies.prompted import OraclePolicy
from copydesk.policies.prompted.prompts import flatten_context, render_taste_guidance

SAMPLING = Sampling(max_new_tokens=5)


def test_the_writer_is_told_the_true_taste_of_each_context(writer: Any) -> None:
    tastes = {"news": "brief", "film": None, "paper": "tweet style"}
    policy: Policy = OraclePolicy("oracle", writer, lambda context: tastes[flatten_context(context)])
    contexts = ["news", "film", [Message(role="user", content="paper")]]
    assert policy.respond(contexts, [(1,), (2,), (3,)], SAMPLING) == ["answer (1,)", "answer (2,)", "answer (3,)"]
    prompts = [
        f"{render_taste_guidance('brief')}\n\nnews",
        "film",
        [Message(role="user", content=f"{render_taste_guidance('tweet style')}\n\npaper")],
    ]
    assert writer.requests == [(prompts, [(1,), (2,), (3,)], SAMPLING)]
