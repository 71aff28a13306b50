"""`slidenet VERB ...`. Help of the whole is printed without importing anything heavy."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any

from slidenet.cli.ending import say_ended, told_to_end
from slidenet.core.escapes import in_terminal


@dataclass(frozen=True, slots=True)
class Verb:
    """A command: the function behind it and the line that describes it.

    Attributes:
        function: `module:name` inside slidenet, imported only when the verb is called.
        summary: One line for the overview.
        positional: The parameters given without a flag, in order, with spaces between them.
        renamed: Former names of flags and what they are called now.
        own_flags: Whether `function` takes the arguments as typed and returns the exit code: its
            flags are those of several classes.
    """

    function: str
    summary: str
    positional: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    own_flags: bool = False

    def call(self, name: str, arguments: Sequence[str]) -> int:
        """Runs the verb; the exit code."""
        module, _, function_name = self.function.partition(":")
        function: Callable[..., Any] = getattr(import_module(f"slidenet.{module}"), function_name)
        if self.own_flags:
            exit_code: int = function(arguments)
            return exit_code
        # Imported here so that the overview needs no jsonargparse.
        from slidenet.cli.addresses import refuse_addresses
        from slidenet.cli.flags import build_parser, flag_names, parse_arguments
        from slidenet.cli.result import report

        parser = build_parser(name, function, positional=self.positional, renamed=self.renamed)
        keywords = parse_arguments(parser, function, arguments)
        flags = flag_names(function) - set((self.positional or "").split())

        def work() -> Any:
            refuse_addresses(function, keywords)
            return function(**keywords)

        return report(name, work, flags)


VERBS = {
    "run": Verb(
        "pipelines.run:run",
        "slides to slide embeddings: the three steps below",
        renamed={"slide_device": "device"},
    ),
    "preprocess": Verb("pipelines.preprocess:preprocess", "find tissue, cut it into tiles"),
    "embed-tiles": Verb("pipelines.embed_tiles:embed_tiles", "tiles to features"),
    "export-tiles": Verb(
        "pipelines.export_tiles:export_tiles", "tiles to image files or WebDataset shards"
    ),
    "embed-slides": Verb(
        "pipelines.embed_slides:embed_slides",
        "features to one vector",
        renamed={"slide_device": "device"},
    ),
    "audit": Verb(
        "cli.training:audit_command", "look for leaks and shortcuts before training", own_flags=True
    ),
    "train": Verb("cli.training:train_command", "features to a slide classifier", own_flags=True),
    "crossval": Verb(
        "cli.training:crossval_command", "train and test a model on each fold", own_flags=True
    ),
    "evaluate": Verb(
        "pipelines.evaluate:evaluate", "predictions to tables and curves", "predictions"
    ),
    "report": Verb("pipelines.report:report", "a cohort and a model as one HTML page", "out run"),
    "ensemble": Verb("pipelines.ensemble:ensemble", "several trained models as one"),
    "predict": Verb("pipelines.predict:predict", "apply a trained model to new slides"),
    "explain": Verb("pipelines.explain:explain", "maps of what a trained model makes of each tile"),
    "feature-maps": Verb(
        "pipelines.feature_space.feature_maps:feature_maps",
        "what features look like: colours, clusters, UMAP; no model needed",
    ),
    "neighbours": Verb(
        "pipelines.feature_space.neighbours:neighbours",
        "the tiles or slides of a cohort most like one",
        "slide",
    ),
    "manifest": Verb(
        "pipelines.manifest:manifest", "the slides of a public archive as a slides.csv", "archive"
    ),
    "plan": Verb(
        "pipelines.planning.plan:plan",
        "what a cohort will take and cost, or a slide of N tiles, before it runs",
        renamed={"ranks": "sequence_ranks"},
    ),
    "attention": Verb(
        "pipelines.inspection.attention:describe_attention",
        "what an attention pattern sees, reaches and costs, drawn",
        "pattern",
    ),
    "info": Verb(
        "pipelines.inspection.info:info",
        "what a slide is, and what it would cost",
        "slide",
        renamed={"slide_mpp": "mpp"},
    ),
    "validate": Verb(
        "pipelines.inspection.validate:validate", "check files slidenet wrote", "paths"
    ),
    "encoders": Verb("pipelines.inspection.encoders:encoders", "list the tile encoders"),
    "doctor": Verb("pipelines.inspection.doctor:doctor", "check this machine's installation"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `slidenet` command.

    Returns:
        0 when all went well, 1 when a slide or check failed (also the only one), 2 for a wrong
        command or setting, 75 when nothing failed but other processes still work on slides, 130
        when interrupted, 143 when ended by SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"slidenet {metadata.version('slidenet')}")
        return 0
    name = arguments[0].replace("_", "-")
    if name not in VERBS:
        print(f"slidenet: error: {_unknown_verb(name)}", file=sys.stderr)
        return 2
    if logging.lastResort is not None:  # names of files stand in lines of the log, too
        logging.lastResort.setFormatter(_TerminalFormatter())
    with told_to_end() as ending:
        try:
            return VERBS[name].call(name, arguments[1:])
        except (KeyboardInterrupt, SystemExit):  # Lightning makes one of the other
            if ending.signal is None:
                raise
        say_ended(name, ending)
        return ending.exit_code


def overview() -> str:
    """The text of `slidenet --help`."""
    lines = [
        "slidenet: whole-slide pathology images to slide-level predictions",
        "",
        "usage: slidenet VERB [--flags] [--config FILE.yaml]",
        "",
        "verbs:",
        *(f"  {name:<14}{verb.summary}" for name, verb in VERBS.items()),
        "",
        "example: slidenet run --slides slides.csv --out embeddings",
        "`slidenet VERB --help` lists the flags of a verb; each is also a key of its YAML file.",
    ]
    return "\n".join(lines)


class _TerminalFormatter(logging.Formatter):
    """Log lines that no name of a file can turn into commands for the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return in_terminal(super().format(record), keep="\n")


def _unknown_verb(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, VERBS, n=2, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(VERBS)}"
    return f"unknown verb {name!r}; {hint}"


if __name__ == "__main__":
    sys.exit(main())
