"""What slidenet imports is declared, and what is declared is pinned, with all that it brings."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FILES = sorted((ROOT / "slidenet").rglob("*.py"))

WITH_TORCH = {"triton"}
"""Brought by torch where there is one, and imported at the first call only (dilated/triton)."""

REMEDY = "uv pip compile pyproject.toml --all-extras --universal --constraint constraints.txt"


NEEDED = [Requirement(text) for text in PROJECT["dependencies"]]
OPTIONAL = [Requirement(text) for extra in EXTRAS.values() for text in extra]


def names(requirements):
    return {canonicalize_name(requirement.name) for requirement in requirements}


def pins():
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def imported_packages(path):
    """Top-level packages a file imports: when it is imported itself, and at any time."""
    tree = ast.parse(path.read_text())
    at_once, ever = set(), set()
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "require_extra", "find_spec"):
                modules = [str(node.args[0].value)]
        roots = {module.partition(".")[0] for module in modules}
        ever |= roots
        if node in tree.body:
            at_once |= roots
    ours = set(sys.stdlib_module_names) | {"slidenet"} | WITH_TORCH
    return at_once - ours, ever - ours


NEVER_DECLARED = {"fastslide", "mlflow", "wandb", "spatialdata", "geopandas"}
"""What users install and name themselves: a reader whose wheel says no licence, two loggers, and
what contradicts a version in constraints.txt (spatialdata, which brings geopandas)."""


@cache
def installed_packages():
    return metadata.packages_distributions()


def distributions_of(package):
    found = installed_packages().get(package, [package])
    return {canonicalize_name(name) for name in found}


def test_every_import_is_declared():
    needed, declared, missing = names(NEEDED), names(NEEDED + OPTIONAL), []
    for path in FILES:
        at_once, ever = imported_packages(path)
        missing += [
            f"{path.relative_to(ROOT)} imports {package}, which is missing in dependencies"
            for package in at_once
            if not distributions_of(package) & needed
        ]
        missing += [
            f"{path.relative_to(ROOT)} imports {package}, which is missing in any extra, too"
            for package in ever - NEVER_DECLARED
            if not distributions_of(package) & declared
        ]
    assert not missing


def test_the_scan_sees_lazy_and_optional_imports(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(
        "import os, numpy.linalg\n"
        "from .own import x\n"
        "def f():\n"
        "    from yaml import load\n"
        "    require_extra('tifffile', extra='testing')\n"
        "    importlib.import_module('h5py.h5')\n"
    )
    assert imported_packages(file) == ({"numpy"}, {"numpy", "yaml", "tifffile", "h5py"})


def test_every_declared_dependency_is_pinned_to_a_version_it_allows():
    found = pins()
    for wanted in NEEDED + OPTIONAL:
        pinned = found.get(canonicalize_name(wanted.name))
        assert pinned, f"constraints.txt lacks {wanted.name}; take the line of `{REMEDY}`"
        for one in pinned:
            version = str(one.specifier).removeprefix("==")
            assert wanted.specifier.contains(version), f"{wanted}, but constraints.txt says {one}"


def test_every_pin_is_a_name_and_a_version():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?", line), line


def test_everything_that_dependencies_and_extras_bring_is_pinned():
    """Follows the metadata of what is installed here."""
    waiting, brought = NEEDED + OPTIONAL, set()
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), *sorted(wanted.extras))
        if key in brought:
            continue
        brought.add(key)
        try:
            requirements = [Requirement(text) for text in metadata.requires(wanted.name) or []]
        except metadata.PackageNotFoundError:
            assert key[0] in names(OPTIONAL), f"{wanted.name} is needed and not installed"
            continue
        waiting += [
            requirement
            for requirement in requirements
            if requirement.marker is None
            or any(requirement.marker.evaluate({"extra": e}) for e in (*wanted.extras, ""))
        ]
    missing = {key[0] for key in brought} - set(pins())
    assert not missing, f"constraints.txt lacks {sorted(missing)}; take the lines of `{REMEDY}`"


def test_the_installer_is_pinned_where_it_is_used():
    assert "uv" in pins()
    for file in ("Dockerfile", "scripts/setup_env.sh"):
        text = (ROOT / file).read_text()
        (line,) = [line for line in text.splitlines() if "pip install" in line and "uv" in line][:1]
        assert "--constraint constraints.txt uv" in line
