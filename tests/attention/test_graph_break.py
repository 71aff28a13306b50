"""What importing attention costs, and the boundary to torch.compile that is built late."""

import subprocess
import sys

import torch

from slidenet.attention.graph_break import outside_compiled_graphs

HEAVY = ("triton", "torch._dynamo", "slidenet.attention.dilated.triton.calls")


def test_importing_loads_neither_compiler_nor_triton():
    code = (
        "import sys, slidenet.attention, slidenet.slide_encoders\n"
        "import torch\n"
        "slidenet.attention.make_attention('dilated', segment_lengths=(4,), dilation_rates=(1,))(\n"
        "    *torch.randn(3, 1, 9, 2, 4).unbind(0))\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout


def test_a_boundary_runs_as_it_is_and_splits_a_compiled_graph():
    seen = []

    @outside_compiled_graphs
    def hidden(x, *, factor):
        """Doubles."""
        seen.append(torch.compiler.is_compiling())
        return x * int(x.sum().item() * 0 + factor)

    def whole(x):
        return hidden(x.sin(), factor=2).cos()

    assert hidden.__doc__ == "Doubles."
    x = torch.randn(5, generator=torch.Generator().manual_seed(0))
    graphs = []

    def backend(graph, inputs):
        graphs.append([node.target for node in graph.graph.nodes if node.op == "call_method"])
        return graph.forward

    compiled = torch.compile(whole, backend=backend)
    for _ in range(3):
        torch.testing.assert_close(compiled(x), whole(x), atol=0, rtol=0)
    assert sorted(graphs) == [["cos"], ["sin"]]  # compiled once each, nothing of what is hidden
    assert seen == [False] * 6
