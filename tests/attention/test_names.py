"""Names from papers and other libraries are answered with what the pattern is called here."""

import pytest

from slidenet.attention import ATTENTION_PATTERNS, make_attention
from slidenet.core.errors import UnknownNameError


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("longnet", "'longnet' is called 'dilated' here"),
        ("LongNet", "'LongNet' is called 'dilated' here"),
        ("mistral", "'sliding_window' (causal=True)"),
        ("local", "'sliding_window' here"),
        ("swa", "'sliding_window' here"),
        ("window", "'sliding_window' here"),
        ("full", "'dense'"),
        ("flash", "'dense'"),
        ("Flash-Attention", "'dense'"),
        ("sdpa", "'dense'"),
        ("vanilla", "'dense'"),
        ("sparse", "'strided' or 'fixed'"),
        ("sparse transformer", "'strided' or 'fixed'"),
        ("moba", "'topk_blocks'"),
        ("big-bird", "'bigbird'"),
    ],
)
def test_other_names(typed, answer):
    with pytest.raises(UnknownNameError, match="unknown attention pattern") as error:
        make_attention(typed)
    assert answer in error.value.remedy


def test_every_answer_names_a_pattern_and_no_pattern_is_another_name():
    for typed, answer in ATTENTION_PATTERNS.other_names.items():
        assert typed not in ATTENTION_PATTERNS
        assert typed == typed.lower().replace("-", "_").replace(" ", "_")
        assert answer.split("'")[1] in ATTENTION_PATTERNS
