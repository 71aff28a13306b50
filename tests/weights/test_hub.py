import subprocess
import sys

import huggingface_hub
import pytest
from huggingface_hub import errors

from slidenet.core.errors import MissingWeightsError
from slidenet.weights import HubWeights, cached_file, download

SOURCE = HubWeights("someone/thing", filenames=("a.bin", "b.bin"), gated=True)


def test_files_are_tried_in_order(monkeypatch, tmp_path):
    asked = []

    def answer(repo_id, filename, *, revision):
        asked.append((repo_id, filename, revision))
        if filename == "a.bin":
            raise errors.EntryNotFoundError("no such entry")
        return str(tmp_path / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answer)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    assert cached_file(SOURCE) is None
    assert download(SOURCE, name="thing") == tmp_path / "b.bin"
    assert asked == [("someone/thing", "a.bin", "main"), ("someone/thing", "b.bin", "main")]


def test_a_message_names_the_option_of_its_caller(monkeypatch):
    def answer(*_, **__):
        raise errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answer)
    with pytest.raises(MissingWeightsError) as caught:
        download(SOURCE, name="thing", flag="--slide-weights", also="'mean' needs no weights")
    assert str(caught.value) == (
        "the weights of 'thing' are not in the hub cache and the hub is out of reach (no network). "
        "To fix: go online (request access at https://huggingface.co/someone/thing, then run "
        "`hf auth login` or set HF_TOKEN), or, on a machine with access, run `hf download "
        "someone/thing a.bin` and pass the file as --slide-weights; 'mean' needs no weights"
    )


def test_importing_the_room_loads_neither_torch_nor_the_hub():
    code = (
        "import sys, slidenet.weights\n"
        "print(sorted({'torch', 'safetensors', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
