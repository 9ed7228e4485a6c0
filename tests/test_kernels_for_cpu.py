"""The GRU's hand-written pass through time against finite differences and the library."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from architectures.gru import gru_layer
from architectures.gru_cpu import gru_on_cpu

SIZES = {
    "batch": st.integers(1, 4),
    "length": st.integers(1, 9),
    "width": st.integers(1, 6),
    "hidden": st.integers(1, 6),
}


def layer_of(batch: int, length: int, width: int, hidden: int) -> tuple[nn.GRU, Tensor, Tensor]:
    torch.manual_seed(batch + 5 * length + 50 * width + 300 * hidden)
    gru = nn.GRU(width, hidden, batch_first=True).double()
    x_BTD = torch.randn(batch, length, width, dtype=torch.double, requires_grad=True)
    return gru, x_BTD, torch.randn(1, batch, hidden, dtype=torch.double, requires_grad=True)


@settings(max_examples=25, deadline=None)
@given(**SIZES)
def test_outputs_and_all_gradients_are_the_librarys(batch: int, length: int, width: int, hidden: int) -> None:
    gru, x_BTD, h_1BH = layer_of(batch, length, width, hidden)
    inputs = [x_BTD, h_1BH, *gru.parameters()]
    found, expected = gru_on_cpu(x_BTD, h_1BH, gru._flat_weights), gru(x_BTD, h_1BH)
    weights = [torch.randn_like(part) for part in expected]  # both outputs pull: all states, and the last one again
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, weights), torch.autograd.grad(expected, inputs, weights), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_gradients_agree_with_finite_differences() -> None:
    gru, x_BTD, h_1BH = layer_of(2, 4, 3, 5)
    names = [name for name, _ in gru.named_parameters()]

    def outputs(x: Tensor, h: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        return gru_on_cpu(x, h, list(weights))

    assert names == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert torch.autograd.gradcheck(outputs, (x_BTD, h_1BH, *gru.parameters()))


def test_it_runs_where_a_gradient_is_wanted_and_nowhere_else() -> None:
    gru, x_BTD, h_1BH = layer_of(2, 4, 3, 5)
    options = (True, 1, 0.0, True, False, True)

    def by_hand() -> bool:
        y_BTH = gru_layer(x_BTD.float(), h_1BH.float(), [w.float() for w in gru._flat_weights], *options)[0]
        nodes, seen = [y_BTH.grad_fn], set()
        while nodes:
            node = nodes.pop()
            if node is not None:
                seen.add(type(node).__name__)
                nodes += [parent for parent, _ in node.next_functions]
        return "GruThroughTimeBackward" in seen

    assert by_hand()
    with torch.no_grad():
        assert not by_hand()
    with torch.autocast("cpu", torch.bfloat16):
        assert not by_hand()
