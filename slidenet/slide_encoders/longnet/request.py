"""What one forward of a slide encoder is asked for, as its caller said it.

Devices that share a slide must be asked for the same; they compare these records (`tokens.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from slidenet.core.checks import check_choice
from slidenet.core.errors import ConfigError
from slidenet.slide_encoders.longnet.config import Pooling
from slidenet.slide_encoders.recipes import State

Method = Literal["forward", "states", "pooled_states"]
SlideIds = str | Sequence[str]


@dataclass(frozen=True)
class ForwardRequest:
    """The arguments of one forward that are not tensors; unchecked until `check`.

    Attributes:
        method: Of `LongNetViT`.
        depth: Blocks of the encoder.
        pooling: How tokens become one vector; None where they do not.
        state: Which state is pooled, in `forward`.
        layers: Which states are asked for, in the other methods; None for all.
        slide_id: The slides of the batch: one name for each, or a text for a single slide.
        recipe: What pooling, state and cells follow, where it has a name.
    """

    method: Method
    depth: int
    pooling: Pooling | None = None
    state: State = "final"
    layers: Sequence[int] | None = None
    slide_id: SlideIds | None = None
    recipe: str | None = None

    def num_blocks(self) -> int:
        """Blocks to run for the state.

        Raises:
            ConfigError: For a state that does not exist.
        """
        return self._blocks_for(self.state)

    def wanted_layers(self) -> tuple[int, ...]:
        """The states asked for, ascending.

        Raises:
            ConfigError: For layers that do not exist or are out of order.
        """
        wanted = tuple(range(self.depth + 1)) if self.layers is None else tuple(self.layers)
        for layer in wanted:
            self._blocks_for(layer)
        if list(wanted) != sorted(set(wanted)):
            raise ConfigError(f"layers {wanted}", expected="ascending, each once")
        return wanted

    def check(self) -> None:
        """Refuses what the encoder cannot be asked for.

        Raises:
            ConfigError: For a pooling, state or layers that do not exist.
        """
        if self.method != "states":
            check_choice(get_args(Pooling), pooling=self.pooling)
        self.num_blocks()
        self.wanted_layers()

    def _blocks_for(self, state: State) -> int:
        if state in ("last", "final"):
            return self.depth
        if isinstance(state, int) and 0 <= state <= self.depth:
            return state
        raise ConfigError(
            f"state {state!r} of a slide encoder of {self.depth} blocks",
            expected=f"0 (embeddings) to {self.depth}, 'last' or 'final'",
        )
