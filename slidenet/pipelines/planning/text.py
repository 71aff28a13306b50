"""The plan of a cohort as people read it: what there is, what will fail, how long, and why."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from slidenet.core.text import count_of, name_some, text_table
from slidenet.pipelines.planning.cohort_plan import CohortPlan, Times
from slidenet.pipelines.planning.headers import Header
from slidenet.pipelines.planning.model import Stage
from slidenet.pipelines.planning.tissue_sample import failures

_BAR = 30
_MOST_HELP = 3

BOUND: dict[Stage, str] = {
    "tissue": "tissue-bound: finding tissue and choosing tiles is what most time goes to",
    "network": "network-bound: slides come more slowly than they can be worked on",
    "decode": "decode-bound: reading and decoding tiles is what the encoder waits for",
    "encode": "encoder-bound: tiles are read faster than they can be encoded",
    "write": "write-bound: results are made faster than they can be written",
    "slides": "bound by the number of slides: opening and finishing each is most of the work",
    "slide encoder": "bound by the slide encoder, not by tiles",
}
MORE: dict[Stage, str] = {
    "tissue": "finding tissue twice as fast (--devices 2 on as many cores; no --drop-blurred)",
    "network": "slides read twice as fast (nearer storage, more of it, a copy on a local disk)",
    "decode": "decoding twice as fast (twice the cores; --shrinking jpeg)",
    "encode": "encoding twice as fast (a GPU, or a faster one; bf16; a smaller encoder)",
    "write": "results written twice as fast (another disk for --out)",
    "slides": "half the time per slide (--devices 2 on as many cores)",
    "slide encoder": "embedding slides twice as fast (a GPU; a pooling)",
}


def text_of(plan: CohortPlan) -> str:
    """The whole plan."""
    parts = [_slides(plan), _failing(plan), _amounts(plan), _time(plan)]
    return "\n\n".join(part for part in parts if part)


def _slides(plan: CohortPlan) -> str:
    """Slides by format, reader and where their resolution comes from."""
    found = plan.survey
    opened = [h for h in found.headers.values() if h.format]
    groups: dict[tuple[str, str, str], list[Header]] = defaultdict(list)
    for header in opened:
        source = header.mpp_source or "unknown"
        groups[(header.format, header.reader, source)].append(header)
    tiles = dict(
        zip([row.slide_id for row in plan.cohort.rows], plan.tiles.each.tolist(), strict=True)
    )
    rows = [
        (
            *group,
            f"{len(own):,}",
            size_in_words(sum(h.num_bytes for h in own)),
            f"{sum(tiles.get(h.slide_id, 0.0) for h in own):,.0f}",
        )
        for group, own in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
    columns = ("format", "reader", "mpp from", "slides", "size", "tiles")
    heading = f"{len(found.rows):,} slides, {size_in_words(float(found.num_bytes.sum()))}; "
    if found.is_sampled:
        share = found.num_opened / len(found.rows)
        heading += (
            f"headers of {found.num_opened:,} drawn ones ({share:.1%}) opened "
            f"in {time_of(found.seconds)}, the table is of these (--all-headers opens all"
            + (", which fetches them)" if found.in_stores else ")")
        )
    else:
        heading += f"all headers opened in {time_of(found.seconds)}"
    return f"{heading}\n\n{text_table(columns, rows, right=(3, 4, 5))}"


def _failing(plan: CohortPlan) -> str:
    """What will fail and why; duplicates."""
    lines = []
    groups: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in plan.survey.failing:
        groups[(header.problem or "", header.remedy)].append(header)
    for (problem, remedy), own in sorted(groups.items(), key=lambda item: -len(item[1])):
        names = name_some(h.slide_id for h in own)
        line = f"  {len(own):,} {problem}: {names}: {' '.join(own[0].detail.split())}"
        lines.append(line + (f". To fix: {remedy}" if remedy else ""))
    missed = failures(plan.sample)
    if missed:
        names = name_some(slide for slide, _ in missed)
        lines.append(
            f"  {len(missed)} of the {len(plan.sample.places)} slides that were tried gave no "
            f"tiles: {names}: {missed[0][1]}"
        )
    failing = len(plan.survey.failing)
    if plan.survey.is_sampled and failing:
        lines.append(f"  of all slides that would be about {plan.survey.expected_failing():,.0f}")
    if lines:
        lines.insert(0, f"will fail: {failing + len(missed):,}")
    for ids in plan.survey.duplicates[:5]:
        lines.append(f"the same slide several times: {name_some(ids)}")
    if len(plan.survey.duplicates) > 5:
        lines.append(f"and {len(plan.survey.duplicates) - 5} more such groups")
    return "\n".join(lines) or "nothing is known that will fail"


def _amounts(plan: CohortPlan) -> str:
    """Tiles and gigabytes."""
    tiles, sample = plan.tiles, plan.sample
    largest = int(np.argmax(tiles.each))
    of = count_of("slide", len(sample.places))
    if tiles.low == tiles.high:
        how = f"counted on all {of}"
    else:
        how = f"{tiles.low:,.0f} to {tiles.high:,.0f} with 95 % confidence, from tissue on {of}"
    how += f" in {time_of(sample.seconds)}"
    largest_id = plan.cohort.rows[largest].slide_id
    lines = [
        f"tiles   {tiles.total:,.0f} ({how}); largest slide: {name_some([largest_id])}, "
        f"{tiles.each[largest]:,.0f}",
        f"in      {size_in_words(plan.bytes_in)}{_fetched(plan)}",
        f"out     {size_in_words(plan.bytes_out)} ("
        + ", ".join(f"{name} {size_in_words(value)}" for name, value in plan.parts_out.items())
        + ")",
    ]
    if plan.bucket:
        lines.append(f"to      {plan.bucket}; what it holds already is not looked at")
    if plan.free is not None:
        room = f"free    {size_in_words(plan.free)} at {plan.out}"
        lines.append(room + (": NOT ENOUGH" if plan.too_little_room else ""))
    return "\n".join(lines)


def _fetched(plan: CohortPlan) -> str:
    """How often objects come over the network."""
    if not plan.survey.in_stores:
        return ""
    again = plan.times is not None and plan.times.load.read[plan.cohort.fetched].any()
    text = f"; {count_of('slide', plan.survey.in_stores)} come from object stores"
    return text + (" twice, as the cache does not hold them all (--cache-limit)" if again else "")


def _time(plan: CohortPlan) -> str:
    """How long, what bounds it, what would help, and what that rests on."""
    if plan.times is None or plan.probed is None:
        return "time    unknown, as nothing was measured"
    times, found = plan.times, plan.times.estimate
    lines = [f"encoder {plan.encoder}", "", *_picture(times), ""]
    number = times.machines.number
    who = "1 machine" if number == 1 else f"{number:,} machines"
    low, high = sorted((times.low, times.high))
    span = "" if high < 1.02 * low else f" ({time_of(low)} to {time_of(high)})"
    lines.append(f"{who}: {time_of(found.seconds)}{span}")
    if found.storage_bound:
        lines.append(
            "  storage-bound: the place of the slides gives "
            f"{size_in_words(times.machines.read or 0)}/s to all machines, which is too little for "
            "so many"
        )
    else:
        words = BOUND[found.bottleneck]
        lines.append(f"  {words.replace('network', plan.place, 1)}")
    for stage, seconds in list(times.helps.items())[:_MOST_HELP]:
        lines.append(f"  {MORE[stage]}: {time_of(seconds)}")
    lines += _many(plan, times)
    if plan.cost is not None:
        each = plan.cost / plan.num_slides
        lines.append(
            f"  cost: {plan.cost:,.2f}, {each:.4g} per slide ({found.machine_hours:,.2f} machine "
            f"hours at {plan.asked.price:g})"
        )
    return "\n".join([*lines, "", *_grounds(plan, times)])


def _many(plan: CohortPlan, times: Times) -> Iterator[str]:
    """What matters where there are several machines."""
    found, number = times.estimate, times.machines.number
    yield (
        f"  the slide that takes longest: {time_of(found.longest_slide_s)}"
        + (
            f"; some machine has nothing to do for the last {time_of(found.waits_s)}"
            if number * times.machines.processes > 1
            else ""
        )
    )
    if number > 1:
        asked = number * times.rates.read * times.machines.processes
        needed = float((times.load.fetched + times.load.read).sum()) / max(1.0, found.seconds)
        yield (
            f"  slides are read at {size_in_words(needed)}/s by all machines together"
            + (
                f", which their place must give (--storage-mb says what it gives; one machine "
                f"measured {size_in_words(times.rates.read * times.machines.processes)}/s)"
                if times.machines.read is None and np.isfinite(asked)
                else ""
            )
        )


def _picture(times: Times) -> Iterator[str]:
    """The verbs and their stages as bars, of one process that does all."""
    found = times.estimate
    longest = max((step.seconds for step in found.steps), default=1.0) or 1.0
    start = times.rates.start_s
    rows = [("start-up", time_of(start), _bar(start / max(longest, start), "="), "")]
    longest = max(longest, start)
    for step in found.steps:
        rows.append((step.name, time_of(step.seconds), _bar(step.seconds / longest, "="), ""))
        for stage, seconds in step.alone.items():
            if len(step.alone) == 1 or seconds < 0.005 * step.seconds:
                continue
            rate = {
                "decode": f"{times.rates.decode:,.3g} tiles/s",
                "encode": f"{times.rates.encode:,.3g} tiles/s",
                "network": f"{size_in_words(times.rates.read)}/s",
                "write": f"{size_in_words(times.rates.write)}/s",
            }.get(stage, "")
            mark = " <" if stage == found.bottleneck else ""
            bar = _bar(seconds / longest, "-") + mark
            name = "read" if stage == "network" else stage
            rows.append((f"  {name} alone", time_of(seconds), bar, rate))
    what = "one process of a machine" if times.machines.processes > 1 else "one machine"
    header = (f"{what}, all slides", "time", "", "rate")
    yield from text_table(header, rows, right=(1,)).splitlines()


def _grounds(plan: CohortPlan, times: Times) -> Sequence[str]:
    """What was measured and what was only said."""
    probed = plan.probed
    assert probed is not None, "there would be no times"
    cores = count_of("core", times.cores)
    measured = (
        f"measured here in {time_of(probed.seconds)}: medians of up to "
        f"{count_of('turn', probed.num_turns)} of {probed.num_tiles:,} tiles of drawn slides"
    )
    if times.reading is not None:
        measured += f"; {size_in_words(times.reading.num_bytes)} of slides read"
    if times.writing is not None:
        measured += f", {size_in_words(times.writing.num_bytes)} written at a time"
    lines = [measured]
    if times.gpus is not None:
        lines.append(
            f"the rate of {times.gpus.kind} is {times.gpus.rate:,.0f} tiles/s "
            f"({times.gpus.source}); all else is of this machine, with {cores}"
        )
    elif plan.asked.tiles_per_second is not None:
        lines.append(f"encoding is as given; all else is of this machine, with {cores}")
    elif times.machines.number > 1:
        lines.append(f"every machine is counted as this one, with {cores}")
    if times.machines.processes > 1:
        lines.append(
            f"each machine has {times.machines.processes} processes, which share its cores"
        )
    where = "each its shard" if plan.asked.shards else "the next slide from one list"
    lines.append(f"machines take {where}; time to wait in queues is not in it")
    return lines


def _bar(share: float, sign: str) -> str:
    return sign * max(1, round(_BAR * min(1.0, share)))


def size_in_words(num_bytes: float) -> str:
    """`3.2 GB`, of powers of ten."""
    if not np.isfinite(num_bytes):
        return "any"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:,.3g} {unit}"
    return f"{num_bytes / 1e3:,.3g} kB"


def time_of(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `9.1 days`."""
    for unit, size, least in (("days", 86400, 2 * 86400), ("h", 3600, 5400), ("min", 60, 90)):
        if seconds >= least:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.3g} s"
