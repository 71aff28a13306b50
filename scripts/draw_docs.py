"""Draws the figures of docs/attention.md and docs/dilated-attention.md, by the commands in them.

draw_docs.py [--out docs/images/attention]

Each page holds commands `slidenet attention ... --out NAME` and pictures
`images/attention/NAME/FIGURE`. Every command is run, and of what it writes, the pictures that a
page shows are kept. PNGs are reduced to 128 colours. Run it after a change of drawings or commands;
tests/test_attention_docs.py compares what it draws with what is there.
"""

import argparse
import contextlib
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from slidenet.cli.main import main as slidenet

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs" / "attention.md", ROOT / "docs" / "dilated-attention.md")
FIGURES = ROOT / "docs" / "images" / "attention"
COLOURS = 128


def text_of_pages() -> str:
    return "\n".join(page.read_text() for page in PAGES)


def drawing_commands() -> dict[str, list[str]]:
    """Arguments of slidenet by the folder that they write, in the order of the pages."""
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^slidenet (attention .* --out \S+)$", text_of_pages(), re.MULTILINE):
        arguments = shlex.split(line)
        name = arguments[arguments.index("--out") + 1]
        if found.setdefault(name, arguments) != arguments:
            raise SystemExit(
                f"two different commands of the pages write {name}: name one otherwise"
            )
    return found


def shown_figures() -> list[str]:
    """NAME/FIGURE of every picture in the pages, each once."""
    return sorted(set(re.findall(r"images/attention/(\w+/[\w.-]+)", text_of_pages())))


def draw(name: str, out: Path) -> None:
    """Runs the command that writes `name` and keeps what the pages show of it in `out`."""
    figures = [figure for figure in shown_figures() if figure.startswith(f"{name}/")]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            code = slidenet(drawing_commands()[name])
        if code:
            raise SystemExit(f"the command that writes {name} ended with {code}")
        for figure in figures:
            target = out / figure
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix == ".png":
                with Image.open(figure) as picture:
                    few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
                few.save(target, optimize=True)
            else:
                shutil.copyfile(figure, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIGURES)
    out = parser.parse_args().out.absolute()
    for name in drawing_commands():
        draw(name, out)
        print(f"drew {name}", flush=True)
    for path in sorted(out.rglob("*.*")):
        if str(path.relative_to(out)) not in shown_figures():
            path.unlink()
            print(f"removed {path}, which no page shows")


if __name__ == "__main__":
    main()
