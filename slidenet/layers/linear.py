"""Linear layers and how they start."""

from torch import nn


class Linear(nn.Linear):
    """A linear layer that starts with xavier-uniform weights and zero biases, drawn once.

    As Prov-GigaPath's and CLAM's authors draw theirs. Next to PyTorch's own, smaller start: the
    same for ABMIL and CLAM-SB finding 10 planted tiles of 200, a little faster for CLAM-MB.
    """

    def reset_parameters(self) -> None:
        """Draws the initial weights; nothing on the meta device, where drawing is slow."""
        if self.weight.is_meta:
            return
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)
