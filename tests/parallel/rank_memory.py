"""What ranks run in the tests of memory: bytes of tensors alive at the peak, counted exactly."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from slidenet.parallel import apply_sequence_parallel, make_mesh
from slidenet.slide_encoders import LongNetConfig, LongNetViT


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages made within the block and still alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if _is_tensor(x)}
        out = func(*args, **(kwargs or {}))
        for x in filter(_is_tensor, tree_leaves(out)):
            storage = x.untyped_storage()
            key = storage._cdata
            if key not in before and key not in self._seen:
                self._seen.add(key)
                self.alive += storage.nbytes()
                self.peak = max(self.peak, self.alive)
                weakref.finalize(storage, self._freed, key, storage.nbytes())
        return out

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive -= size


def _is_tensor(x: object) -> bool:
    return isinstance(x, torch.Tensor)


def peak_bytes(
    rank: int, num_ranks: int, config: LongNetConfig, num_tiles: int
) -> dict[tuple[bool, bool], int]:
    """Peak over weights and inputs of a forward and of a training step, plain and checkpointed."""
    mesh = make_mesh()
    features = torch.randn(1, num_tiles, config.feature_dim)
    grid_xy = torch.randint(config.grid_size, (1, num_tiles, 2))
    found = {}
    for training, checkpointed in ((False, False), (True, False), (True, True)):
        torch.manual_seed(0)
        model = LongNetViT(config, checkpoint_activations=checkpointed, chunk_tokens=256)
        apply_sequence_parallel(model.train(training), mesh)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)  # counted apart from activations
        with torch.set_grad_enabled(training), LiveBytes() as live:
            out = model(features, grid_xy, pooling="mean")
            if training:
                out.sum().backward()
        found[training, checkpointed] = live.peak
    return found
