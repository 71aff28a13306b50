"""Several targets of a slide, from the table of labels and a few words for each target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

from slidenet.core.checks import check_choice, check_positive, refused
from slidenet.core.errors import ConfigError, LabelError
from slidenet.core.registry import Registry
from slidenet.core.text import count_of
from slidenet.data.labels.cells import has_label
from slidenet.data.labels.table import LabelTable
from slidenet.data.labels.task import make_task
from slidenet.tasks import TASKS, ClassTask, MultiTask, Task, TaskKind
from slidenet.tasks.parts import check_names


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """One of several targets.

    Args:
        task: What is predicted.
        label_columns: Its columns; default: one, of the name of the target.
        class_names: Classes in order, for "binary" the negative one first; found in the table where
            not given.
        positive: For "binary" the class that the score is about; the last one where not given.
        time_edges: Upper edges of the bins of "discrete_time", which must be given here.
        weight: How much its loss counts beside those of the others, which are on one scale.

    Raises:
        ConfigError: A setting that does not fit.
    """

    task: TaskKind = "binary"
    label_columns: Sequence[str] = ()
    class_names: Sequence[str] | None = None
    positive: str | None = None
    time_edges: Sequence[float] | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_choice(get_args(TaskKind), task=self.task)
        check_positive(weight=self.weight)
        for name in ("label_columns", "class_names", "time_edges"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, str) or not isinstance(value, Sequence)):
                raise refused(name, value, f"a list, such as [{value}]")
        if TASKS[self.task].has_time_bins and not self.time_edges:
            raise ConfigError(
                "a target of time bins without time_edges",
                expected="the upper edges of its bins, in the unit of its times",
                remedy="give time_edges, such as [12, 24, 36], or take task cox",
            )


def read_targets(targets: Mapping[str, Any]) -> dict[str, TargetSettings]:
    """The settings of several targets, as a user writes them.

    Args:
        targets: By name: `TargetSettings`, a mapping of its fields, or the kind of task alone,
            whose column then has the name of the target.

    Raises:
        UnknownNameError: A setting nobody knows.
        ConfigError: A name or a value that does not fit, naming the target.
    """
    known: Registry[None] = Registry("setting of a target")
    for field in fields(TargetSettings):
        known.add(field.name, None)
    check_names(tuple(map(str, targets)))
    found: dict[str, TargetSettings] = {}
    for name, given in targets.items():
        if isinstance(given, TargetSettings):
            found[name] = given
            continue
        settings = {"task": given} if isinstance(given, str) else given
        if not isinstance(settings, Mapping):
            raise ConfigError(
                f"target {name!r} is {given!r}",
                expected="a kind of task, or its settings as a mapping",
                remedy=f"write {name}: {{task: binary, label_columns: [{name}]}}",
            )
        for setting in settings:
            known[str(setting)]
        columns = settings.get("label_columns") or [name]
        try:
            texts = {
                setting: _texts(setting, settings[setting])
                for setting in ("class_names", "positive")
                if settings.get(setting) is not None
            }
            found[name] = TargetSettings(**{**settings, **texts, "label_columns": columns})
        except ConfigError as error:
            error.found = f"target {name!r}: {error.found}"
            raise
    return found


def _texts(setting: str, value: object) -> object:
    """Classes as text: YAML reads 1 as a number, which is as good, and `no` as False."""
    if isinstance(value, list | tuple):
        return [_texts(setting, one) for one in value]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise refused(setting, value, "text; words such as no, off and true need quotes in YAML")
    return str(value)


def make_targets(table: LabelTable, targets: Mapping[str, TargetSettings]) -> MultiTask:
    """The task that several targets make; every label of each is checked.

    Args:
        table: The labels.
        targets: Of `read_targets`.

    Raises:
        LabelError: As `make_task`, naming the target.
        ConfigError: Classes, columns or edges that do not fit the kind of a target.
    """
    tasks: dict[str, Task] = {}
    for name, target in targets.items():
        try:
            tasks[name] = make_task(
                table,
                target.task,
                target.label_columns,
                target.class_names,
                target.time_edges,
                positive=target.positive,
            )
        except (ConfigError, LabelError) as error:
            error.found = f"target {name!r}: {error.found}"
            raise
    return MultiTask((), targets=tasks)


def refuse_unlabelled(table: LabelTable, task: MultiTask) -> None:
    """Refuses slides of which no target is known.

    Raises:
        LabelError: Naming them.
    """
    gone = [row for row, known in enumerate(has_label(table, task)) if not known]
    if gone:
        raise LabelError(
            f"{table.place(gone, task.label_columns[0])} and the columns of the other targets: "
            f"{count_of('slide', len(gone))} of {len(table)} without a label of any target",
            expected="at least one target of every slide",
            remedy="fill the cells, or leave such slides out with --data.drop-unlabelled",
        )


def columns_of(targets: Mapping[str, TargetSettings]) -> list[str]:
    """The label columns of all targets, each once."""
    columns = (column for target in targets.values() for column in target.label_columns)
    return list(dict.fromkeys(columns))


def any_classes(targets: Mapping[str, TargetSettings]) -> bool:
    """Whether a target has classes, so that they can be weighed."""
    return any(issubclass(TASKS[target.task], ClassTask) for target in targets.values())
