"""Which methods and targets a call of `slidenet explain` means, settled before the first slide."""

from collections.abc import Iterator, Sequence

from slidenet.core.errors import ConfigError
from slidenet.core.text import name_some
from slidenet.evaluation.predictions.targets import of_target
from slidenet.explanation import EXPLAINERS, default_methods
from slidenet.explanation.methods import REVISIONS, UNTRAINED, meant_by
from slidenet.metrics import DEFAULT_THRESHOLD
from slidenet.mil import BagModel
from slidenet.tasks import Calibration, MultiTask, PredictionArrays, Task
from slidenet.tasks.classes import class_probabilities
from slidenet.tasks.multitask import joint
from slidenet.training import Bundle, Ensemble

CONTROLS = ("control", UNTRAINED)
"""Beside every map: a map is worth what it is better by than these."""

CALLED, ALL = "called", "all"


def settle_methods(
    model: Bundle | Ensemble, asked: Sequence[str], *, compare: bool, controls: bool
) -> tuple[tuple[str, ...], list[str]]:
    """The methods of a call, the one to believe first, and what to say about the choice.

    Args:
        model: The trained model; of an ensemble every member is explained.
        asked: Names of methods; none for those that told the truth about such a network.
        compare: Whether all methods that apply are wanted.
        controls: Whether the maps without training and without a model stand beside.

    Raises:
        UnknownNameError: A method nobody knows.
        ConfigError: A method that does not apply to one of the networks, or methods are named and
            all are asked for.
    """
    for name in asked:
        EXPLAINERS[name]
    if asked and compare:
        raise ConfigError(
            f"--methods {' '.join(asked)} with --compare",
            expected="one of the two: --compare shows all methods that apply",
            remedy="drop one of them",
        )
    networks = list(_networks(model))
    refusals: dict[str, str] = {}
    for name in dict.fromkeys((*EXPLAINERS, *asked)):
        for source, network in networks:
            why = EXPLAINERS[name].applies_to(network)
            if why:
                refusals[name] = f"{source}{why}"
                break
    kinds = sorted({str(member.module.hparams["network"]) for member in model.members})
    if len(kinds) > 1:
        refusals[UNTRAINED] = "members of several kinds draw it by several methods, without a mean"
    refused = [name for name in asked if name in refusals]
    if refused:
        fitting = [name for name in EXPLAINERS if name not in refusals]
        raise ConfigError(
            f"--methods {refused[0]} for this model: {refusals[refused[0]]}",
            expected=f"methods that apply to all of it: {', '.join(fitting)}",
            remedy="leave --methods away for the ones that told the truth about such networks",
        )
    defaults = [default_methods(network) for _, network in networks]
    best = [name for name in defaults[0] if all(name in names for names in defaults)]
    if not best:  # what says something of any network, and else the first that applies
        best = [n for n in EXPLAINERS if EXPLAINERS[n].is_evidence and n not in refusals][:1]
    notes = []
    if len(kinds) > 1:
        notes.append(
            f"the members are of different kinds ({', '.join(kinds)}): their maps are averaged by "
            "methods that apply to all of them"
        )
    if compare:
        others = [name for name in EXPLAINERS if name not in refusals]
        chosen = [*best, *others]
        left_out = [f"{name} ({why})" for name, why in refusals.items()]
        if left_out:
            notes.append(f"methods that do not apply: {name_some(left_out, most=len(left_out))}")
    else:
        chosen = [*asked] or best
    maps = [name for name in dict.fromkeys(chosen) if name not in CONTROLS]
    beside = [n for n in CONTROLS if n not in refusals and (controls or n in asked)]
    return (*maps, *beside), notes


def _networks(model: Bundle | Ensemble) -> Iterator[tuple[str, BagModel]]:
    """Every network that is to be explained, with words that tell it from the others."""
    for number, member in enumerate(model.members, 1):
        name = str(member.module.hparams["network"])
        source = f"member {number} ({name}): " if len(model.members) > 1 else ""
        yield source, member.module.network
        if member.module.fusion is not None:
            yield from ((source, network) for network in member.module.fusion.networks)


def revisions(model: Bundle | Ensemble, methods: Sequence[str]) -> dict[str, int]:
    """Of the methods whose numbers have changed, the revision; empty where none has."""
    meant = {meant_by(name, network).name for name in methods for _, network in _networks(model)}
    return {name: revision for name, revision in REVISIONS.items() if name in meant}


def check_targets(task: Task, asked: Sequence[str]) -> None:
    """Refuses targets that the model does not have.

    Raises:
        ConfigError: Naming those it has.
    """
    known = [target.name for target in task.explained_targets()]
    unknown = [name for name in asked if name not in (CALLED, ALL, *known)]
    if unknown or not asked:
        found = f"--targets {unknown[0]}" if unknown else "--targets without a name"
        raise ConfigError(
            f"{found} for {task.describe()}",
            expected=f"{CALLED} (what the model says of each bag), {ALL}, or some of "
            f"{', '.join(known)}",
        )


def settle_targets(
    task: Task, asked: Sequence[str], predicted: PredictionArrays, calibration: Calibration
) -> tuple[str, ...]:
    """Names of the targets to explain of one bag, in the order of the task.

    Args:
        task: Of the model.
        asked: As `check_targets` passed them.
        predicted: Of the bag alone.
        calibration: Of the model, by which classes are called.
    """
    known = [target.name for target in task.explained_targets()]
    wanted = set(known) if ALL in asked else set(asked)
    if CALLED in asked:
        wanted |= set(called_targets(task, predicted, calibration))
    return tuple(name for name in known if name in wanted)


def called_targets(
    task: Task, predicted: PredictionArrays, calibration: Calibration
) -> tuple[str, ...]:
    """What the model says of one bag: the class called, the labels present, the value, the risk.

    A target that is alone, such as the positive class, always is: its map shows what speaks against
    it, too. Where no label is present it is the likeliest one.
    """
    if isinstance(task, MultiTask):
        return tuple(
            f"{name}_{called}"
            for name, one in task.targets.items()
            for called in called_targets(
                one, joint(predicted).by_target[name], of_target(calibration, name)
            )
        )
    names = [target.name for target in task.explained_targets()]
    if len(names) == 1:
        return tuple(names)
    chances = class_probabilities(predicted)[0]
    likeliest = names[int(chances.argmax())]
    if task.exclusive_classes:
        return (likeliest,)
    cut = DEFAULT_THRESHOLD if calibration.threshold is None else calibration.threshold
    present = [name for name, chance in zip(names, chances, strict=True) if chance >= cut]
    return tuple(present) or (likeliest,)
