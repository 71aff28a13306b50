"""Nystrom attention over the tokens of one bag, written plainly.

Source: Xiong et al. 2021, "Nystromformer": the approximation of the softmax matrix through
landmarks, landmarks as segment means, and the iterative pseudo-inverse.
Shapes: N tokens, H heads, d head width, m landmarks, D = H d.

Differs from the package TransMIL uses: no token is padded to a multiple of m (there zeros take part
in softmaxes and landmark means; here segments differ in length by one at most, and m <= N), and the
pseudo-inverse starts from the norms of each head's own matrix (there from the largest norm of the
whole batch, which makes a bag's result depend on its neighbours).
"""

import torch
from torch import Tensor, nn

from slidenet.layers import Linear, full_precision


class NystromAttention(nn.Module):
    """Multi-head attention through m landmarks, plus a depth-wise convolution of the values.

    Args:
        width: D, a multiple of `num_heads`.
        num_heads: H.
        num_landmarks: m.
        pinv_iterations: Steps of the pseudo-inverse.
        residual_kernel: Odd length of the convolution along the tokens, one kernel per head.
        dropout: After the output projection.
    """

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        num_landmarks: int,
        pinv_iterations: int,
        residual_kernel: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_landmarks = num_landmarks
        self.pinv_iterations = pinv_iterations
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.residual = nn.Conv2d(
            num_heads,
            num_heads,
            (residual_kernel, 1),
            padding=(residual_kernel // 2, 0),
            groups=num_heads,
            bias=False,
        )
        self.out = nn.Sequential(Linear(width, width), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed tokens, and what the first token attends to.

        Args:
            x: Tokens of one bag (N, D).

        Returns:
            Tokens (N, D) and the exact softmax row of the first token, mean over heads (N,), which
            the Nystrom row approximates but which is positive and sums to one. It has no gradient.
        """
        q, k, v = self.qkv(x).reshape(len(x), 3, self.num_heads, -1).permute(1, 2, 0, 3)
        with torch.autocast(x.device.type, enabled=False):
            mixed = nystrom_attention(
                full_precision(q),
                full_precision(k),
                full_precision(v),
                self.num_landmarks,
                self.pinv_iterations,
            )
            with torch.no_grad():
                first = full_precision(q[:, :1])
                row = attention_weights(first, full_precision(k))[:, 0].mean(dim=0)
        mixed = mixed.to(v.dtype) + self.residual(v[None])[0]
        return self.out(mixed.transpose(0, 1).flatten(1)), row


def nystrom_attention(
    q: Tensor, k: Tensor, v: Tensor, num_landmarks: int, pinv_iterations: int
) -> Tensor:
    """softmax(q k'^T) pinv(softmax(q' k'^T)) softmax(q' k^T) v with landmarks q', k'.

    With as many landmarks as tokens this is exact attention, up to the pseudo-inverse.

    Args:
        q: (H, N, d).
        k: (H, N, d).
        v: (H, N, d).
        num_landmarks: m; at most N are used.
        pinv_iterations: Steps of the pseudo-inverse.

    Returns:
        (H, N, d).
    """
    q_marks, k_marks = segment_means(q, num_landmarks), segment_means(k, num_landmarks)
    to_marks = attention_weights(q, k_marks)
    between = attention_weights(q_marks, k_marks)
    from_marks = attention_weights(q_marks, k)
    # Right to left: no product is larger than tokens by landmarks.
    return to_marks @ (pseudo_inverse(between, pinv_iterations) @ (from_marks @ v))


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """Softmax over keys of scaled products: (H, N, d) and (H, M, d) to (H, N, M)."""
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)


def segment_means(x: Tensor, count: int) -> Tensor:
    """Means over min(count, N) consecutive segments; the first N mod count are one longer.

    Args:
        x: (H, N, d).
        count: How many.

    Returns:
        (H, min(count, N), d).
    """
    num_heads, length, width = x.shape
    count = min(count, length)
    short, longer = divmod(length, count)
    cut = longer * (short + 1)
    first = x[:, :cut].reshape(num_heads, longer, short + 1, width).mean(dim=2)
    rest = x[:, cut:].reshape(num_heads, count - longer, short, width).mean(dim=2)
    return torch.cat([first, rest], dim=1)


def pseudo_inverse(matrix: Tensor, iterations: int) -> Tensor:
    """Moore-Penrose inverse of row-stochastic matrices (..., m, m) by third-order iteration.

    Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4 from Z = A^T / (|A|_1 |A|_inf).
    """
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    column = matrix.abs().sum(dim=-2).amax(dim=-1)
    row = matrix.abs().sum(dim=-1).amax(dim=-1)
    z = matrix.transpose(-1, -2) / (column * row)[..., None, None]
    for _ in range(iterations):
        az = matrix @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    return z
