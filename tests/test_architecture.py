"""The house plan as a test: arrows of imports only point down, rooms stay small and well named."""

import ast
from pathlib import Path

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


# Each of these tests looks at all files at once: a test per file would be 2,300 of them.


def test_imports_point_down():
    upward = []
    for path in FILES:
        room = path.relative_to(PACKAGE).parts[0]
        if room == "__init__.py":
            continue  # the root re-exports lazily; its homes are checked by test_root_exports
        upward += [
            f"{path.relative_to(PACKAGE)} on floor {FLOORS[room]} imports slidenet.{target} "
            f"on floor {FLOORS[target]}"
            for target in sorted(imported_rooms(path))
            if target != room and FLOORS[target] >= FLOORS[room]
        ]
    assert not upward, "arrows may only point down"


def test_files_stay_small_and_named():
    lines = {str(p.relative_to(PACKAGE)): len(p.read_text().splitlines()) for p in FILES}
    long = {path: number for path, number in lines.items() if number > MAX_LINES}
    assert not long, f"more than {MAX_LINES} lines; give the second idea its own file"
    unnamed = [p for p in FILES if p.stem in {"utils", "helpers", "misc", "common"}]
    assert not unnamed, "name what it does"


def test_init_only_reexports():
    found = []
    for path in sorted(PACKAGE.glob("*/**/__init__.py")):
        for node in ast.parse(path.read_text()).body:
            place = f"{path.relative_to(PACKAGE)}, line {node.lineno}"
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = ast.literal_eval(node.value)
                found += [] if names == sorted(names) else [f"{place}: __all__ is not sorted"]
            elif not is_docstring and not isinstance(node, ast.ImportFrom):
                found.append(f"{place} is more than a re-export")
    assert not found


def test_a_room_says_its_floor():
    silent = [
        f"{room.name} should begin with 'Floor {FLOORS[room.name]}: '"
        for room in ROOMS
        if not (ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or "").startswith(
            f"Floor {FLOORS[room.name]}: "
        )
    ]
    assert not silent


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
