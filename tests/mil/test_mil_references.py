"""Each model against its equations, one bag and one tile at a time."""

import math

import pytest
import torch
from torch.testing import assert_close

from slidenet.mil.nystrom import nystrom_attention, pseudo_inverse, segment_means

LENGTHS = (6, 1, 9)


@pytest.fixture
def check(small, bags):
    """Compares a model with `reference(weights, tiles (n, D), cells) -> logits, map or None`."""

    def compare(name, num_outputs, reference, **settings):
        model = small(name, num_outputs, **settings)
        features, grid_xy, mask = bags(LENGTHS, longest=12)
        out = model(features, grid_xy, mask)
        weights = model.state_dict()
        for b, real in enumerate(mask):
            logits, attention = reference(weights, features[b][real], grid_xy[b][real])
            assert_close(out.logits[b].detach(), torch.as_tensor(logits), rtol=1e-9, atol=1e-10)
            if attention is not None:
                found = out.tile_attention[b][:, real].detach()
                expected = torch.tensor(attention, dtype=torch.float64)
                assert_close(found, expected, rtol=1e-9, atol=1e-10)
        return model, out

    return compare


def linear(weights, key, x):
    """Row by row: w . x + b."""
    w, b = weights[f"{key}.weight"], weights[f"{key}.bias"]
    return torch.stack([(w[i] * x).sum() + b[i] for i in range(len(w))])


def softmax(scores):
    powers = [math.exp(float(s)) for s in scores]
    return [p / sum(powers) for p in powers]


def gated_scores(weights, hidden, gated=True):
    """Ilse et al., equations 8 and 9, before the softmax: one row per tile, one entry per map."""
    scores = []
    for h in hidden:
        factor = torch.tanh(linear(weights, "attention.content", h))
        if gated:
            factor = factor * torch.sigmoid(linear(weights, "attention.gate", h))
        scores.append(linear(weights, "attention.score", factor))
    return torch.stack(scores)


def embedded(weights, tiles):
    return torch.stack([linear(weights, "embed.0", x).clamp(min=0) for x in tiles])


def pooled_by(row, hidden):
    return sum(a * h for a, h in zip(row, hidden, strict=True))


def test_mean(check):
    def reference(weights, tiles, _):
        n = len(tiles)
        return linear(weights, "head", sum(tiles) / n), [[1 / n] * n]

    check("mean", 3, reference)


def test_max(check):
    def reference(weights, tiles, _):
        columns = [tiles[:, d].tolist() for d in range(tiles.shape[1])]
        holders = [column.index(max(column)) for column in columns]
        row = [holders.count(tile) / len(columns) for tile in range(len(tiles))]
        highest = torch.stack([tiles[tile, d] for d, tile in enumerate(holders)])
        return linear(weights, "head", highest), [row]

    check("max", 3, reference)


@pytest.mark.parametrize("gated", [True, False])
def test_abmil(check, gated):
    def reference(weights, tiles, _):
        hidden = embedded(weights, tiles)
        row = softmax(gated_scores(weights, hidden, gated)[:, 0])
        return linear(weights, "head", pooled_by(row, hidden)), [row]

    check("abmil", 2, reference, gated=gated)


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_clam_sb(check, num_outputs):
    def reference(weights, tiles, _):
        hidden = embedded(weights, tiles)
        row = softmax(gated_scores(weights, hidden)[:, 0])
        return linear(weights, "head", pooled_by(row, hidden)), [row]

    check("clam_sb", num_outputs, reference)


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_clam_mb(check, num_outputs):
    def reference(weights, tiles, _):
        hidden = embedded(weights, tiles)
        scores = gated_scores(weights, hidden)
        rows = [softmax(scores[:, m]) for m in range(scores.shape[1])]
        logits = [
            linear(weights, f"head.heads.{m}", pooled_by(row, hidden))[0]
            for m, row in enumerate(rows)
        ]
        if num_outputs == 1:  # softmax over (negative, positive) = sigmoid of the difference
            logits = [logits[1] - logits[0]]
        return torch.stack(logits), rows

    check("clam_mb", num_outputs, reference)


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_dsmil(check, num_outputs):
    def query(weights, x):
        hidden = linear(weights, "query.0", x).clamp(min=0)
        return torch.tanh(linear(weights, "query.2", hidden))

    def reference(weights, tiles, _):
        scores = [linear(weights, "tile_head", x) for x in tiles]
        queries = [query(weights, x) for x in tiles]
        rows, critical = [], []
        for k in range(num_outputs):
            m = max(range(len(tiles)), key=lambda i: scores[i][k])
            critical.append(scores[m][k])
            products = [(q * queries[m]).sum() / math.sqrt(len(q)) for q in queries]
            rows.append(softmax(products))
        bag = torch.cat([pooled_by(row, tiles) for row in rows])
        return (torch.stack(critical) + linear(weights, "head", bag)) / 2, rows

    check("dsmil", num_outputs, reference)


def layer_norm(weights, key, x):
    centred = x - x.mean()
    scaled = centred / (centred.square().mean() + 1e-5).sqrt()
    return scaled * weights[f"{key}.weight"] + weights[f"{key}.bias"]


def nystrom_layer(weights, key, tokens, num_heads=2, num_landmarks=4):
    """x + attention(norm(x)), and the exact first row, with every sum written out."""
    normed = torch.stack([layer_norm(weights, f"{key}.norm", t) for t in tokens])
    qkv = normed @ weights[f"{key}.attention.qkv.weight"].T
    width = tokens.shape[1]
    d = width // num_heads
    mixed, first = [], 0
    for h in range(num_heads):
        q, k, v = (qkv[:, p * width + h * d : p * width + (h + 1) * d] for p in range(3))
        marks = []
        for x in (q, k):
            m = min(num_landmarks, len(x))
            lengths = [len(x) // m + (i < len(x) % m) for i in range(m)]
            starts = [sum(lengths[:i]) for i in range(m)]
            segments = zip(starts, lengths, strict=True)
            marks.append(torch.stack([x[s : s + n].mean(dim=0) for s, n in segments]))
        one, two, three = (
            torch.tensor([softmax(row) for row in a @ b.T / math.sqrt(d)], dtype=x.dtype)
            for a, b in ((q, marks[1]), (marks[0], marks[1]), (marks[0], k))
        )
        z = two.T / (two.sum(dim=0).max() * two.sum(dim=1).max())
        eye = torch.eye(len(two), dtype=z.dtype)
        for _ in range(6):
            az = two @ z
            z = 0.25 * z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az)))
        out = one @ z @ three @ v
        kernel = weights[f"{key}.attention.residual.weight"][h, 0, :, 0]
        for i in range(len(v)):
            for step, w in enumerate(kernel):
                j = i + step - len(kernel) // 2
                if 0 <= j < len(v):
                    out[i] = out[i] + w * v[j]
        mixed.append(out)
        first = first + torch.tensor(softmax(k @ q[0] / math.sqrt(d)), dtype=k.dtype) / num_heads
    tokens = tokens + torch.stack(
        [linear(weights, f"{key}.attention.out.0", t) for t in torch.cat(mixed, dim=1)]
    )
    return tokens, first


def ppeg(weights, tokens, side):
    square = tokens[1:].reshape(side, side, -1)
    out = square.clone()
    for i in range(3):
        kernel = weights[f"positions.convolutions.{i}.weight"][:, 0]
        half = kernel.shape[1] // 2
        for r in range(side):
            for c in range(side):
                out[r, c] += weights[f"positions.convolutions.{i}.bias"]
                for dr in range(-half, half + 1):
                    for dc in range(-half, half + 1):
                        if 0 <= r + dr < side and 0 <= c + dc < side:
                            out[r, c] += kernel[:, half + dr, half + dc] * square[r + dr, c + dc]
    return torch.cat([tokens[:1], out.reshape(side * side, -1)])


def test_transmil(check):
    def reference(weights, tiles, _):
        hidden = torch.stack([linear(weights, "embed.0", x).clamp(min=0) for x in tiles])
        n, side = len(tiles), math.ceil(math.sqrt(len(tiles)))
        tokens = [weights["class_token"][0], *hidden, *hidden[: side * side - n]]
        x, _ = nystrom_layer(weights, "layers.0", torch.stack(tokens))
        x, row = nystrom_layer(weights, "layers.1", ppeg(weights, x, side))
        share = [sum(row[1 + i :: n]) for i in range(n)]  # a tile and its repetition
        total = sum(share)
        logits = linear(weights, "head", layer_norm(weights, "norm", x[0]))
        return logits, [[s / total for s in share]]

    check("transmil", 3, reference)


@torch.no_grad()
@pytest.mark.parametrize("name", ["longnet", "gigapath"])
@pytest.mark.parametrize("layers", [(2,), (0, 2), (1,)])
@pytest.mark.parametrize("pooling", ["attention", "mean", "class_token"])
def test_longnet_and_gigapath(small, bags, name, layers, pooling):
    model = small(name, 3, layers=layers, pooling=pooling)
    weights = model.state_dict()
    features, grid_xy, mask = bags(LENGTHS, longest=12)
    out = model(features, grid_xy, mask)
    for b, real in enumerate(mask):
        states = model.encoder.states(features[b, real][None], grid_xy[b, real][None])
        normed = torch.cat([model.encoder.norm(states[i][0]) for i in layers], dim=-1)
        n = int(real.sum())
        row = [1 / n] * n
        if pooling == "attention":
            row = softmax(gated_scores(weights, normed[1:])[:, 0])
        if pooling == "mean":  # of the states, then the norm
            each = [model.encoder.norm(states[i][0, 1:].mean(dim=0)) for i in layers]
            pooled = torch.cat(each)
        else:
            pooled = normed[0] if pooling == "class_token" else pooled_by(row, normed[1:])
        assert_close(out.logits[b], linear(weights, "head", pooled), rtol=1e-9, atol=1e-10)
        if pooling == "class_token":
            assert out.tile_attention is None
        else:
            assert_close(out.tile_attention[b, 0][real].tolist(), row, rtol=1e-9, atol=1e-10)


def test_nystrom_with_all_landmarks_is_exact_attention():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 9, 4, dtype=torch.float64)
    exact = torch.softmax(q @ k.transpose(1, 2) / 2, dim=-1) @ v
    assert_close(nystrom_attention(q, k, v, 50, 40), exact, rtol=1e-6, atol=1e-6)
    assert (nystrom_attention(q, k, v, 3, 40) - exact).abs().max() > 1e-3


def test_segment_means():
    x = torch.arange(7.0).reshape(1, 7, 1)
    assert segment_means(x, 3).flatten().tolist() == [1.0, 3.5, 5.5]
    assert segment_means(x, 7).flatten().tolist() == x.flatten().tolist()
    assert segment_means(x, 99).flatten().tolist() == x.flatten().tolist()
    assert segment_means(x, 1).flatten().tolist() == [3.0]


def test_pseudo_inverse():
    torch.manual_seed(1)
    matrix = torch.softmax(2 * torch.randn(3, 5, 5, dtype=torch.float64), dim=-1)
    assert_close(pseudo_inverse(matrix, 30), torch.linalg.pinv(matrix), rtol=1e-8, atol=1e-8)
