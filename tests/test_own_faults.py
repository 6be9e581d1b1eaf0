"""Faults of a user's own network: what `check-model` and `run` find, and what they say."""

import pytest
from test_own_file import EXAMPLE, checks, net

from dnabench.models.outside.references import model_named

__all__ = ["net"]  # a fixture
BEFORE_HEAD = "self.head = nn.Linear"


@pytest.mark.parametrize(
    "text",
    [
        "self.scale = 1 + torch.rand(width)\n        ",
        "self.register_buffer('scale', 1 + torch.rand(width), persistent=False)\n        ",
    ],
)
def test_what_a_state_dict_lacks_is_found(net, text):
    text = EXAMPLE.replace(BEFORE_HEAD, text + BEFORE_HEAD)
    lacks = text.replace("self.embedding(ids.long())", "self.embedding(ids.long()) * self.scale")
    found = checks(model_named(f"{net(lacks)}:Net"))
    assert [name for name, check in found.items() if not check.ok] == ["save/load"]
    assert "register buffers" in found["save/load"].says
    holds = lacks.replace(", persistent=False", "")
    if holds != lacks:
        assert checks(model_named(f"{net(holds)}:Net"))["save/load"].ok
