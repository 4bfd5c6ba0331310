from typing import Any

from copydesk.log.record import Message
from copydesk.policies import Policy, Sampling
from copydesk.policies.prompted import OracleTaste
from copydesk.policies.prompted.prompts import context_text, taste_guidance

SAMPLING = Sampling(max_new_tokens=5)


def test_the_writer_is_told_the_true_taste_of_each_context(writer: Any) -> None:
    tastes = {"news": "brief", "film": None, "paper": "tweet style"}
    policy: Policy = OracleTaste("oracle", writer, lambda context: tastes[context_text(context)])
    contexts = ["news", "film", [Message(role="user", content="paper")]]
    assert policy.respond(contexts, [(1,), (2,), (3,)], SAMPLING) == ["answer (1,)", "answer (2,)", "answer (3,)"]
    prompts = [
        f"{taste_guidance('brief')}\n\nnews",
        "film",
        [Message(role="user", content=f"{taste_guidance('tweet style')}\n\npaper")],
    ]
    assert writer.requests == [(prompts, [(1,), (2,), (3,)], SAMPLING)]
