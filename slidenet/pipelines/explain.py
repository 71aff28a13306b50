"""`slidenet explain`: what a trained model makes of every tile, as maps for eyes and programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slidenet.core.checks import check_choice, check_whole
from slidenet.core.errors import ConfigError
from slidenet.core.extras import data_frame
from slidenet.pipelines.applying.application import prepare
from slidenet.pipelines.applying.bags import (
    describe_patients_of,
    read_rows,
    source_of,
    takes_patients,
)
from slidenet.pipelines.cohort.features import EncodingChoice
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import RunReport, exit_code_of
from slidenet.pipelines.cohort.run import LOCAL, run_cohort
from slidenet.pipelines.cohort.runner import Runner
from slidenet.pipelines.cohort.slides import Slides
from slidenet.pipelines.explaining.agreeing import write_agreement_table
from slidenet.pipelines.explaining.methods import CALLED, check_targets, settle_methods
from slidenet.pipelines.explaining.outputs import (
    FORMATS,
    Format,
    OutputSettings,
    check_extras,
)
from slidenet.pipelines.explaining.work import ExplainSettings, ExplainWork
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.objects.outputs import to_buckets
from slidenet.pipelines.settings import OpeningSettings
from slidenet.stores import check_output_folder
from slidenet.training import load_bundle

if TYPE_CHECKING:
    import pandas

DEFAULT_FORMATS: tuple[Format, ...] = ("csv", "geojson", "figures", "galleries")


@dataclass(frozen=True)
class ExplainReport:
    """What `explain` ended with.

    Attributes:
        stages: Reports of the steps; the last is that of the maps, if it got so far.
        folder: Where the maps lie.
        notes: What to know about them, a line each.
    """

    stages: Sequence[RunReport]
    folder: Path
    notes: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """1 when a slide failed, else 75 when one is in progress elsewhere, else 0."""
        return exit_code_of(self.stages)

    def table(self) -> str:
        """The slides that failed on the way, every slide that was explained, where it all lies."""
        shown = [stage.table() for stage in self.stages[:-1] if stage.exit_code]
        done = sum(o.is_done for o in self.stages[-1].outcomes)
        said = f"the maps lie in {self.folder}"
        if self.stages[-1].verb != "explain" or not done:
            said = "nothing could be explained"
        return "\n\n".join([*shown, self.stages[-1].table(), *self.notes, said])

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per slide (patient, where bags are patients): all that `run.json` says of it.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([outcome.record() for outcome in self.stages[-1].outcomes])


@to_buckets
def explain(
    bundle: str | Path,
    slides: Slides,
    out: str | Path,
    *,
    features: str | Path | None = None,
    more_features: Sequence[Path] = (),
    methods: Sequence[str] = (),
    targets: Sequence[str] = (CALLED,),
    compare: bool = False,
    controls: bool = True,
    faithfulness: bool | None = None,
    formats: Sequence[Format] = DEFAULT_FORMATS,
    num_top: int = 12,
    overwrite: bool = False,
    weights: str | Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    num_readers: int | None = None,
    recursive: bool = False,
    allow_upsampling: bool = False,
    patient_column: str | None = None,
    allow_code: bool = False,
    opening: OpeningSettings | None = None,
    fleet: FleetSettings = WHOLE,
    runner: Runner = LOCAL,
) -> ExplainReport:
    """Show what a trained slide classifier makes of every tile: maps, tables, QuPath, AnnData.

    Writes `explanations/` under `out`: raw numbers in `h5/`, and a folder for each format. What is
    there is kept; the same call made again does what is missing. Slides given by `--features` need
    not be there any more; pictures then show tiles alone.

    Args:
        bundle: A model.slidenet of `slidenet train`, or an ensemble.slidenet of `slidenet crossval`
            or `slidenet ensemble`.
        slides: Manifest slides.csv, or a folder of slides; with features, a column slide_id will
            do. Covariates the model takes are columns of it.
        out: Output folder; features of the steps before are used where they are there.
        features: Folder of features made elsewhere, used instead of the slides themselves.
        more_features: With features: folders of the further feature sets of a model that was
            trained on several, in the order of the training.
        methods: How tiles are weighed: evidence, single_tile, rollout, integrated_gradients,
            occlusion, attention, ... Default: the two that told the truth about such a network
            (docs/explanation.md, "Which map to believe").
        targets: What is explained: called (what the model says of each slide), all, or names of
            classes, labels or targets.
        compare: All methods that apply, side by side, with how alike they are, in
            `explanations/compare/`.
        controls: Beside every map those of the untrained network and of no model at all, to see
            what a map is worth.
        faithfulness: Measure how the model's score follows each map when tiles are removed, against
            20 random orders; default: with compare only, as it takes some 200 passes.
        formats: What is written beside the h5: csv, geojson (QuPath), figures, galleries, anndata,
            ome_tiff; h5 alone for nothing else.
        num_top: Tiles at the top, and at the bottom, of a gallery.
        overwrite: Replace maps made with other settings.
        weights: Local weights file of the tile encoder (of several: the first), instead of the hub
            or its cache.
        device: Where encoder and model run: auto, cpu, cuda or cuda:N.
        batch_size: Tiles per forward pass of the encoder; default: what suits its engine.
        num_readers: Threads that read tiles; default: one per core, 2 to 16.
        recursive: Of a folder of slides, take those of its subfolders, too.
        allow_upsampling: Accept slides coarser than the training's and enlarge their pixels.
        patient_column: Column of the manifest that says whose slide it is; default: patient_id, or
            one named alike. "tcga" reads TCGA barcodes in slide_id.
        allow_code: Let the bundle name classes outside slidenet; importing them runs their code.
        opening: Where slides are opened and what they may cost.
        fleet: Which of the slides this call takes, and with how many processes features are made.
        runner: Who does the work.
    """
    for name in formats:
        check_choice(FORMATS, formats=name)
    check_whole(num_top=num_top)
    check_extras(formats)
    bundle = Path(bundle)
    model = load_bundle(bundle, allow_code=allow_code)
    if fleet.shard is not None and takes_patients(model):
        raise ConfigError(
            f"--shard {fleet.shard} for a model of patients",
            expected="all slides: a patient is explained by all slides of theirs, and shards part "
            "them",
            remedy="leave --shard away; several jobs on one --out share the patients by themselves",
        )
    check_targets(model.task, targets)
    chosen, notes = settle_methods(model, methods, compare=compare, controls=controls)
    settings = ExplainSettings(
        methods=chosen,
        targets=tuple(dict.fromkeys(targets)),
        compare=compare,
        faithfulness=compare if faithfulness is None else faithfulness,
        overwrite=overwrite,
        outputs=OutputSettings(
            tuple(dict.fromkeys(formats)), num_top, opening or OpeningSettings()
        ),
    )
    first = [] if features is None else [Path(features)]
    application = prepare(
        model,
        bundle,
        read_rows(slides, first[0] if first else None, patient_column, recursive=recursive),
        source=source_of(slides),
        folders=[*first, *map(Path, more_features)],
    )
    choice = EncodingChoice(
        None if weights is None else Path(weights),
        device,
        batch_size,
        num_readers,
        allow_upsampling,
        allow_code,
        opening,
        fleet,
    )
    out = check_output_folder(out)
    stages, _, opener = application.ready(out, choice, runner)
    folder = OutputLayout(out).explanations(compare=compare).root
    if takes_patients(model):
        notes = [*describe_patients_of(slides, patient_column), *notes]
    if stages and stages[0].failed:
        notes.append(
            "slides that have moved are explained by their features: give the folder of these as "
            "--features"
        )
    if opener is None:
        return ExplainReport(stages, folder, [*application.notes, *notes])
    work = ExplainWork(OutputLayout(out), opener, settings)
    report = run_cohort(
        "explain",
        opener.rows,
        work,
        settings=[settings],
        fleet=fleet.in_this_process(),  # a model runs in less than it takes to send it
        runner=runner,
    )
    if compare:
        write_agreement_table(work, report)
    return ExplainReport([*stages, report], folder, [*application.notes, *notes])
