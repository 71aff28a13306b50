"""What a split keeps in proportion: the classes of slides, and the patients they belong to."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import SplitError
from slidenet.core.vocabulary import is_no_id
from slidenet.data.labels.encoding import encode_targets
from slidenet.data.labels.table import LabelTable
from slidenet.data.splits.record import group_of
from slidenet.tasks import Task


@dataclass(frozen=True, eq=False)
class Strata:
    """Slides in groups, each slide in the strata of its label.

    Attributes:
        slide_ids: The S slides, in order of the table.
        groups: int64 (S,), the patient (or other group) of each slide, 0 to G - 1.
        members: bool (S, C), whether a slide is in a stratum. One stratum per class; for
            "multilabel" two per label, one of either value; for survival event and censored; for
            regression quarters of the values.
        names: What the C strata are called.
        needed: bool (C,), whether there must be one to learn from: classes and events, not censored
            slides or quarters of a value.
        everywhere: bool (C,), whether val and test need one, too: not of a label of several.
        group_word: What a group is called, "patient" or a column.
    """

    slide_ids: tuple[str, ...]
    groups: npt.NDArray[np.int64]
    members: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    needed: npt.NDArray[np.bool_]
    everywhere: npt.NDArray[np.bool_]
    group_word: str = "patient"

    def __len__(self) -> int:
        return len(self.slide_ids)

    @property
    def num_groups(self) -> int:
        """Number of groups, G."""
        return len(np.unique(self.groups))

    def group_members(self) -> npt.NDArray[np.bool_]:
        """Bool (G, C), whether a group has a slide in a stratum."""
        found = np.zeros((int(self.groups.max(initial=-1)) + 1, len(self.names)), np.bool_)
        np.logical_or.at(found, self.groups, self.members)
        return found

    def ids(self, slides: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        """The slide_ids of some of the slides, bool (S,)."""
        return tuple(s for s, keep in zip(self.slide_ids, slides, strict=True) if keep)

    def take(self, slides: npt.NDArray[np.bool_]) -> "Strata":
        """The same for some of the slides, bool (S,)."""
        return Strata(
            self.ids(slides),
            np.unique(self.groups[slides], return_inverse=True)[1].astype(np.int64),
            self.members[slides],
            self.names,
            self.needed,
            self.everywhere,
            self.group_word,
        )


def strata_of(
    table: LabelTable, task: Task, *, group_column: str, site_column: str | None = None
) -> Strata:
    """The strata of every slide of a table.

    Args:
        table: The labels.
        task: What the labels mean.
        group_column: What stays together; "patient_id" or another column of the table.
        site_column: Where given, all slides of a site stay together too: the groups are the sites,
            those that share a patient joined.

    Raises:
        LabelError: A label is missing or does not fit the task.
        SplitError: A slide without a site.
    """
    strata = task.strata(encode_targets(task, table, table.slide_ids))
    names = [group_of(table, slide_id, group_column) for slide_id in table.slide_ids]
    groups = np.unique(names, return_inverse=True)[1].astype(np.int64)
    word = "patient" if group_column == "patient_id" else group_column
    if site_column is not None:
        groups, word = _groups_by_site(table, site_column, groups), site_column
    return Strata(
        table.slide_ids,
        groups,
        np.stack([stratum.members for stratum in strata], axis=1),
        tuple(stratum.name for stratum in strata),
        np.array([stratum.needed for stratum in strata]),
        np.array([stratum.needed and not stratum.only_in_train for stratum in strata]),
        word,
    )


def joined_sites(table: LabelTable, site_column: str) -> list[tuple[str, ...]]:
    """The sites that are tested together because they share patients, each group of them."""
    patients = [table.patient_of(slide_id) for slide_id in table.slide_ids]
    of_patients = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    groups = _groups_by_site(table, site_column, of_patients)
    found: dict[int, dict[str, None]] = {}
    for group, site in zip(groups.tolist(), table.column(site_column), strict=True):
        found.setdefault(group, {})[site] = None
    return [tuple(sites) for sites in found.values() if len(sites) > 1]


def _groups_by_site(
    table: LabelTable, site_column: str, groups: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """One group per site; sites that share a patient become one, or the patient would leak."""
    from scipy.sparse import coo_array  # here: few of the verbs that load this file split
    from scipy.sparse.csgraph import connected_components

    sites = table.column(site_column)
    missing = [i for i, site in enumerate(sites) if is_no_id(site)]
    if missing:
        raise SplitError(
            f"{table.place(missing, site_column)} is empty, or says that nothing is known",
            expected="a site for every slide, for folds that keep sites apart",
            remedy="fill the cells, or make the folds without the site column",
        )
    site = np.unique(sites, return_inverse=True)[1]
    num_groups, num_sites = int(groups.max()) + 1, int(site.max()) + 1
    edges = (np.ones(len(groups)), (groups, num_groups + site))
    graph = coo_array(edges, shape=(num_groups + num_sites,) * 2)
    joined = connected_components(graph, directed=False)[1]
    return np.unique(joined[groups], return_inverse=True)[1].astype(np.int64)
