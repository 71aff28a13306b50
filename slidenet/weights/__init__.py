"""Floor 1: files of weights (safe reading, digests, the hub) and the device they are put on.

Importing this room loads neither torch nor the client of the hub; using it does.
"""

from slidenet.weights.device import resolve_device
from slidenet.weights.files import digest_of_state, read_tensor_file
from slidenet.weights.hub import HubWeights, cached_file, download, hub_errors, size_on_hub

__all__ = [
    "HubWeights",
    "cached_file",
    "digest_of_state",
    "download",
    "hub_errors",
    "read_tensor_file",
    "resolve_device",
    "size_on_hub",
]
