"""Bag models and FSDP2 on shared slides give the numbers of one rank."""

import pytest
import torch
from rank_bag_models import bag_gradients, bag_model, bags, grads_of, sharded
from rank_launch import run_ranks
from rank_models import Classifier, two_steps


def test_bag_models_know_nothing_of_ranks():
    parts = run_ranks(bags, 3)
    for pooling in ("attention", "mean", "class_token"):
        model = bag_model(pooling)
        wanted = bag_gradients(model) | grads_of(model)
        for found in parts:
            assert list(found[pooling]) == list(wanted)
            for name, x in wanted.items():
                torch.testing.assert_close(
                    found[pooling][name], x, atol=1e-5, rtol=1e-5, msg=f"{name}, {pooling}"
                )


@pytest.mark.slow
def test_fsdp_averages_as_it_should():
    model = Classifier()
    wanted = two_steps(model, model, slice(None), lambda: None)
    for weights in run_ranks(sharded, 4):
        assert list(weights) == list(wanted)
        for name, x in wanted.items():
            torch.testing.assert_close(weights[name], x, atol=1e-5, rtol=0, msg=name)
