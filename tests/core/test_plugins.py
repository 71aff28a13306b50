import sys
from importlib import metadata

import pytest

from slidenet.core import plugins
from slidenet.core.errors import PluginError, UnknownNameError
from slidenet.core.plugins import code_identity, find_plugin, list_plugins
from slidenet.core.registry import Registry

GROUP = "slidenet.segmenters"
SOURCE = "class Fern:\n    leaves = 7\n    class Spore:\n        leaves = 0\n\nMOSS = 3\n"


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """A module `greenhouse` on the path that no package brings."""
    (tmp_path / "greenhouse.py").write_text(SOURCE)
    (tmp_path / "wilted.py").write_text("import a_library_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("greenhouse", "wilted"):
        sys.modules.pop(name, None)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts packages on the path as an installer would: metadata with entry points."""

    def installed(distribution: str, entry_points: str, version: str = "2.1") -> None:
        info = tmp_path / f"{distribution}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points)

    monkeypatch.syspath_prepend(tmp_path)
    return installed


@pytest.fixture
def plants():
    registry = Registry(
        "plant", group=GROUP, accepts=lambda x: hasattr(x, "leaves"), expected="a class with leaves"
    )
    registry.add("oak", "OAK")
    return registry


def test_an_entry_point_is_listed_without_being_loaded(on_path, install):
    install("botany", f"[{GROUP}]\nfern = greenhouse:Fern\n")
    (plugin,) = [p for p in list_plugins(GROUP) if p.name == "fern"]
    assert (plugin.distribution, plugin.version) == ("botany", "2.1")
    assert "greenhouse" not in sys.modules


def test_an_entry_point_is_loaded_when_it_is_named(on_path, install, plants):
    install("botany", f"[{GROUP}]\nfern = greenhouse:Fern\n")
    assert plants["fern"].leaves == 7
    assert plants["fern"] is plants["fern"]
    assert list(plants) == ["oak"]


def test_names_of_slidenet_win(on_path, install, plants):
    install("botany", f"[{GROUP}]\noak = greenhouse:Fern\n")
    assert plants["oak"] == "OAK"
    assert plants.plugin("oak") is None
    assert "greenhouse" not in sys.modules


def test_an_import_path_needs_no_entry_point(on_path, plants):
    assert plants["greenhouse.Fern"].leaves == 7
    assert plants["greenhouse:Fern"].leaves == 7
    assert plants["greenhouse:Fern.Spore"].leaves == 0


def test_distribution_and_version_enter_the_identity(on_path, install, plants):
    install("botany", f"[{GROUP}]\nfern = greenhouse:Fern\n")
    assert plants.plugin_identity("fern") == {
        "plugin": {"code": "greenhouse:Fern", "distribution": "botany", "version": "2.1"}
    }
    assert plants.plugin_identity("oak") == {}


def test_code_without_a_distribution_is_known_by_its_source(on_path, plants):
    first = plants.plugin_identity("greenhouse.Fern")["plugin"]
    assert first["code"] == "greenhouse:Fern"
    (on_path / "greenhouse.py").write_text(SOURCE.replace("7", "8"))
    sys.modules.pop("greenhouse")
    again = Registry("plant", group=GROUP)
    second = again.plugin_identity("greenhouse.Fern")["plugin"]
    assert first["source_sha256"] != second["source_sha256"]


def test_a_class_says_where_it_comes_from(on_path, install, plants):
    install("botany", f"[{GROUP}]\nfern = greenhouse:Fern\n")
    assert code_identity(plants["fern"]) == plants.plugin_identity("fern")
    assert plants.plugin_identity("greenhouse.Fern") == plants.plugin_identity("fern")
    assert code_identity(Registry) == {}


def test_a_class_of_the_script_being_run_can_be_named(plants):
    class Moss:
        leaves = 0

    sys.modules["__main__"].Moss = Moss  # whose module has no spec in a script
    try:
        assert plants["__main__.Moss"] is Moss
    finally:
        del sys.modules["__main__"].Moss


def test_a_broken_plugin_is_an_error_of_its_own(on_path, install, plants):
    install("botany", f"[{GROUP}]\nivy = wilted:Ivy\nrose = greenhouse:Rose\n")
    with pytest.raises(PluginError, match=r"wilted:Ivy of botany 2.1 cannot be loaded.*a_library"):
        plants["ivy"]
    with pytest.raises(PluginError, match=r"greenhouse:Rose of botany.*no attribute 'Rose'"):
        plants["rose"]
    with pytest.raises(UnknownNameError, match=r"unknown plant 'nowhere.Thing'.*PYTHONPATH"):
        plants["nowhere.Thing"]
    with pytest.raises(UnknownNameError, match="did you mean oak"):
        plants["oak.1"]


def test_an_object_of_another_kind_is_refused(on_path, plants):
    with pytest.raises(PluginError, match=r"greenhouse:MOSS is no plant; expected a class with le"):
        plants["greenhouse.MOSS"]


def test_one_name_of_two_packages_is_refused(on_path, install):
    install("botany", f"[{GROUP}]\nfern = greenhouse:Fern\n")
    install("gardening", f"[{GROUP}]\nfern = greenhouse:Fern\n", version="1")
    with pytest.raises(PluginError, match=r"'fern'.* is given by botany and gardening"):
        find_plugin("fern", GROUP)


def test_a_file_may_not_name_code_without_the_users_word(on_path, plants):
    plants.require_own("oak", source="model.slidenet", allow_code=False)
    with pytest.raises(
        PluginError, match=r"model.slidenet names the plant 'greenhouse.Fern'.*--all"
    ):
        plants.require_own("greenhouse.Fern", source="model.slidenet", allow_code=False)
    assert "greenhouse" not in sys.modules
    plants.require_own("greenhouse.Fern", source="model.slidenet", allow_code=True)


def test_unknown_names_propose_plugins_too(on_path, install, plants):
    install("botany", f"[{GROUP}]\nfern = greenhouse:Fern\n")
    with pytest.raises(UnknownNameError, match="did you mean fern"):
        plants["ferm"]


def test_a_registry_without_a_group_has_no_plugins(on_path):
    registry = Registry("stone")
    registry.add("flint", 1)
    with pytest.raises(UnknownNameError, match=r"unknown stone 'greenhouse.Fern'"):
        registry["greenhouse.Fern"]


def test_every_group_is_listed_by_default(monkeypatch):
    asked = []
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: asked.append(group) or metadata.EntryPoints()
    )
    assert list_plugins() == []
    assert asked == list(plugins.PLUGIN_GROUPS)
