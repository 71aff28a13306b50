"""Two data x two sequence ranks under Lightning give the numbers of one process."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.multiprocessing import ProcessRaisedException
from torchmetrics.utilities import dim_zero_cat

from slidenet.cli.training import call_of, training_parser
from slidenet.core.errors import ParallelError
from slidenet.data.datamodule import read_bags
from slidenet.pipelines.fitting.trainer import TrainerFactory
from slidenet.slide_encoders import LongNetViT
from slidenet.testing import write_feature_cohort
from slidenet.training import EpochSeeding, SlideClassifier, load_classifier, seed_run
from slidenet.training.bundles.kept_epochs import LastCheckpoint
from slidenet.training.sequence_parallel import SequenceParallelStrategy

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "train"
TINY = {
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 4,
    "ffn_dim": 24,
    "segment_lengths": (4, 11, 64),
    "dilation_rates": (1, 2, 3),
    "dropout": 0.0,
    "drop_path": 0.0,
}


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    return write_feature_cohort(
        tmp_path_factory.mktemp("bags"), num_patients=30, num_tiles=20, feature_dim=6
    )


class Watched(SlideClassifier):
    """Fails on every rank where ranks of a row do not agree, or a bag is counted twice."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if self.trainer.world_size > 1:
            first, second, third, fourth = self.all_gather(loss.detach()).tolist()
            assert first == second != third == fourth, "rows see the same, ranks of a row do not"
        return loss

    def on_validation_epoch_end(self):
        with self.val_metrics.sync_context():
            assert len(dim_zero_cat(self.val_metrics.target)) == 8, "bags of the val part"
        super().on_validation_epoch_end()


def on_ranks(sequence=2):
    return SequenceParallelStrategy(sequence=sequence, start_method="fork", timeout_s=30)


def data_of(bags, batch_size):
    return read_bags(labels=bags.labels, features=bags.features, batch_size=batch_size)


def fitted(data, make_trainer, *, exact=True, resume=None, settings=None, **trainer):
    """A module after fitting, and what its last validation logged."""
    seed_run(0)
    settings = TINY | (settings or {})
    rate = {"learning_rate": 0.01, "schedule": "constant"}
    module = Watched(data.task_record, data.feature_dim, "longnet", settings, **rate)
    if exact:
        # AdamW blows up the rounding errors of gradients that are zero (those of key biases, which
        # softmax does not see) to whole steps.
        module.double()
    given = {"max_epochs": 1, "callbacks": [EpochSeeding(0)], "use_distributed_sampler": False}
    fit = make_trainer(**given | trainer)
    fit.fit(module, datamodule=data, ckpt_path=resume)
    return module, {name: float(value) for name, value in fit.callback_metrics.items()}


def shared(data, make_trainer, **settings):
    return fitted(data, make_trainer, strategy=on_ranks(), devices=4, **settings)


def assert_same_weights(found, wanted):
    assert list(found.state_dict()) == list(wanted.state_dict())
    for name, x in wanted.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], x, atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_weights_and_metrics_are_those_of_one_process(bags, quiet_trainer, accumulate):
    common = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 0.5}
    module, logged = shared(data_of(bags, 4 // accumulate), quiet_trainer, **common)
    alone, wanted = fitted(data_of(bags, 8 // accumulate), quiet_trainer, **common)
    assert logged == pytest.approx(wanted, abs=1e-5)
    assert_same_weights(module, alone)


@pytest.mark.slow
def test_ranks_started_on_other_data_are_refused(bags, quiet_trainer):
    data = data_of(bags, 4)
    data.identity = lambda: {"labels of": f"machine {data.trainer.global_rank}"}
    with pytest.raises(
        ProcessRaisedException, match="rank 1 has data labels of 'machine 1' where rank 0 has"
    ):
        fitted(data, quiet_trainer, strategy=on_ranks(), devices=2)


@pytest.mark.slow
def test_a_checkpoint_of_four_ranks_goes_on_and_predicts_on_one(bags, quiet_trainer, tmp_path):
    data = data_of(bags, 8)
    keep = [EpochSeeding(0), LastCheckpoint(tmp_path)]
    module, logged = shared(
        data_of(bags, 4), quiet_trainer, callbacks=keep, enable_checkpointing=True
    )
    loaded = load_classifier(tmp_path / "last.ckpt").double()
    assert_same_weights(loaded, module)
    (seen,) = quiet_trainer().validate(loaded, datamodule=data, verbose=False)
    assert {name: logged[name] for name in seen} == pytest.approx(seen, abs=1e-5)
    straight, _ = fitted(data, quiet_trainer, max_epochs=2)
    resumed, _ = fitted(data, quiet_trainer, max_epochs=2, resume=tmp_path / "last.ckpt")
    assert_same_weights(resumed, straight)


@pytest.mark.slow
def test_mixed_precision_recomputed_blocks_and_dropout(bags, quiet_trainer):
    """`Watched` sees that ranks of a row draw the same dropout of the head."""
    settings = {"head_dropout": 0.5, "dropout": 0.2, "drop_path": 0.2}
    settings |= {"pooling": "class_token", "checkpoint_activations": True}
    module, logged = shared(
        data_of(bags, 4),
        quiet_trainer,
        exact=False,
        settings=settings,
        precision="bf16-mixed",
        max_epochs=2,
    )
    assert np.isfinite(list(logged.values())).all()
    assert type(module.network.encoder) is LongNetViT
    (alone,) = quiet_trainer().validate(module, datamodule=data_of(bags, 8), verbose=False)
    assert logged["val_loss"] == pytest.approx(alone["val_loss"], abs=0.01)


def test_ranks_that_make_no_grid_are_refused_before_they_start(quiet_trainer):
    with pytest.raises(ParallelError, match=r"3 sequence ranks of 4 ranks.*devices to 6"):
        quiet_trainer(strategy=on_ranks(3), devices=4)
    with pytest.raises(ParallelError, match="sequence is 0; expected a whole number of at least 1"):
        on_ranks(0)


def test_other_networks_are_refused_by_name(bags, quiet_trainer):
    data = data_of(bags, 4)
    module = SlideClassifier(data.task_record, data.feature_dim, "abmil")
    trainer = quiet_trainer(strategy=on_ranks(), devices=2)
    with pytest.raises(
        Exception, match=r"ConfigError: the network 'abmil' cannot share.*'longnet'"
    ):
        trainer.fit(module, datamodule=data)


@pytest.mark.parametrize(
    "flags",
    [
        [
            "--trainer.strategy=slidenet.training.sequence_parallel.SequenceParallelStrategy",
            "--trainer.strategy.sequence=4",
        ],
        [
            f"--config={CONFIGS / 'longnet.yaml'}",
            f"--config={CONFIGS / 'sequence_parallel.yaml'}",
            "--trainer.strategy.init_args.sequence=4",
        ],
    ],
    ids=["flags", "config"],
)
def test_from_the_command_line(flags, tmp_path):
    parser = training_parser("slidenet train fit", "Test.")
    more = ["--trainer.devices=8", "--trainer.accelerator=cpu", f"--out={tmp_path}"]
    data = ["--data.labels=slides.csv", "--data.features=features"]
    config = parser.parse_args([*flags, *more, *data])
    strategy = TrainerFactory(call_of(config)["trainer"]).make(tmp_path, []).strategy
    assert isinstance(strategy, SequenceParallelStrategy)
    assert strategy.distributed_sampler_kwargs == {"num_replicas": 2, "rank": 0}
