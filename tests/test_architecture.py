"""The house plan as a test: arrows of imports only point down, rooms stay small and well named."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "slidenet"
MAX_LINES = 400
MAX_FILES = 15

FLOORS = {
    "core": 0,
    "slides": 1,
    "weights": 1,
    "layers": 1,
    "metrics": 1,
    "attention": 1,
    "stores": 2,
    "tasks": 2,
    "tile_encoders": 2,
    "tissue": 3,
    "slide_encoders": 3,
    "testing": 3,
    "mil": 4,
    "parallel": 4,
    "tiling": 4,
    "visualisation": 4,
    "data": 5,
    "training": 5,
    "pretraining": 5,
    "evaluation": 6,
    "auditing": 6,
    "explanation": 6,
    "viewer": 6,
    "pipelines": 7,
    "cli": 8,
}

FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(p for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__")


def test_no_folder_holds_more_than_is_seen_at_once():
    folders = {path.parent for path in FILES}
    full = {
        str(folder.relative_to(PACKAGE)): len(found)
        for folder in folders
        if len(found := [p for p in folder.glob("*.py") if p.name != "__init__.py"]) > MAX_FILES
    }
    assert not full, "give what belongs together a folder of its own"


def test_every_room_has_a_floor():
    assert {room.name for room in ROOMS} <= set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = path.relative_to(PACKAGE).parts[0]
    if room == "__init__.py":
        return  # the root re-exports lazily; its homes are checked by test_root_exports
    for target in sorted(imported_rooms(path)):
        assert target == room or FLOORS[target] < FLOORS[room], (
            f"{path.name} on floor {FLOORS[room]} imports slidenet.{target} "
            f"on floor {FLOORS[target]}; arrows may only point down"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_small_and_named(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{path} has {lines} lines; give the second idea its own file"
    assert path.stem not in {"utils", "helpers", "misc", "common"}, f"{path}: name what it does"


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.glob("*/**/__init__.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_init_only_reexports(path):
    tree = ast.parse(path.read_text())
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert is_docstring or isinstance(node, ast.ImportFrom | ast.Assign), (
            f"{path}: line {node.lineno} is more than a re-export"
        )
        if isinstance(node, ast.Assign):
            assert node.targets[0].id == "__all__"
            names = ast.literal_eval(node.value)
            assert names == sorted(names), f"{path}: __all__ is not sorted"


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_says_its_floor(room):
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert docstring.startswith(f"Floor {FLOORS[room.name]}: ")


def test_core_needs_no_torch_and_no_files():
    banned = {"torch", "torchvision", "timm", "openslide", "h5py", "os", "pathlib", "io"}
    for path in sorted((PACKAGE / "core").rglob("*.py")):
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert not roots & banned, f"{path.name} imports {sorted(roots & banned)}"


def test_the_scan_sees_lazy_relative_and_upward_imports(tmp_path):
    package = tmp_path / "slidenet" / "core"
    package.mkdir(parents=True)
    file = package / "bad.py"
    file.write_text(
        "def f():\n"
        "    from slidenet import cli\n"
        "    from ..pipelines import run\n"
        "    import slidenet.data.tiles as t\n"
        "    import importlib; importlib.import_module('slidenet.mil')\n"
    )
    found = imported_rooms(file, package=tmp_path / "slidenet")
    assert found == {"cli", "pipelines", "data", "mil"}


def imported_rooms(path: Path, package: Path = PACKAGE) -> set[str]:
    """Rooms of slidenet that a file imports, wherever in the file and however it says it."""
    modules = imported_modules(path, package)
    return {m.split(".")[1] for m in modules if m.startswith("slidenet.") and m.count(".") >= 1}


def imported_modules(path: Path, package: Path = PACKAGE) -> set[str]:
    here = ["slidenet", *path.relative_to(package).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.add(module)
            if module == "slidenet":
                found |= {f"slidenet.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("import_module")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value))
    return found
