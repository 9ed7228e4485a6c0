"""Training pass of a GRU on CPU, forwards and backwards through time by hand.

The library has fused kernels for GRUs on CUDA (cuDNN) and for LSTMs on CPU (oneDNN), but runs a GRU on CPU as a loop
whose backward pass is autograd's, some twenty small operations a step. Here a step backwards is three: everything that
does not depend on the gradient from the next step is computed for all steps at once, before the loop.

Legend: B batch, T tokens, D width of the input, H hidden width; the 3 is reset gate, update gate, new value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class GruThroughTime(torch.autograd.Function):
    """All hidden states (T, B, H) of x (T, B, D) from the state h (B, H). Weights as in the library's GRU:
    w (3H, D), u (3H, H), b (3H), d (3H). Differentiable once."""

    @staticmethod
    def forward(
        ctx: Any, x_TBD: Tensor, h_BH: Tensor, w_3HD: Tensor, u_3HH: Tensor, b_3H: Tensor, d_3H: Tensor
    ) -> Tensor:
        num_steps, batch, _ = x_TBD.shape
        hidden = u_3HH.shape[1]
        gates_TB3H = torch.addmm(b_3H, x_TBD.reshape(num_steps * batch, -1), w_3HD.T).view(num_steps, batch, 3, hidden)
        from_h_TB3H = torch.empty_like(gates_TB3H)
        states_TBH = x_TBD.new_empty(num_steps + 1, batch, hidden)  # one more: the state before the first token
        states_TBH[0] = h_BH
        u_H3H = u_3HH.T.contiguous()
        steps = zip(
            states_TBH[:-1].unbind(),
            states_TBH[1:].unbind(),
            from_h_TB3H.flatten(2).unbind(),
            from_h_TB3H[:, :, :2].unbind(),
            from_h_TB3H[:, :, 2].unbind(),
            gates_TB3H[:, :, :2].unbind(),
            gates_TB3H[:, :, 0].unbind(),
            gates_TB3H[:, :, 1].unbind(),
            gates_TB3H[:, :, 2].unbind(),
            strict=True,
        )
        for before, after, from_h, from_h_to_gates, from_h_to_new, both_gates, reset, update, new in steps:
            torch.addmm(d_3H, before, u_H3H, out=from_h)
            both_gates.add_(from_h_to_gates).sigmoid_()
            new.addcmul_(reset, from_h_to_new).tanh_()
            torch.lerp(new, before, update, out=after)
        ctx.save_for_backward(x_TBD, states_TBH, w_3HD, u_3HH, gates_TB3H, from_h_TB3H[:, :, 2])
        return states_TBH[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_TBH: Tensor) -> tuple[Tensor, ...]:
        x_TBD, states_TBH, w_3HD, u_3HH, gates_TB3H, from_h_to_new_TBH = ctx.saved_tensors
        reset, update, new = gates_TB3H.unbind(2)
        rows, hidden = dy_TBH.shape[0] * dy_TBH.shape[1], dy_TBH.shape[2]

        # d(before the gates' and the new value's nonlinearity) / d(state after), for all steps
        through_new_TBH = (1 - update) * (1 - new * new)
        by_h_TB3H = torch.empty_like(gates_TB3H)
        torch.mul(through_new_TBH, from_h_to_new_TBH, out=by_h_TB3H[:, :, 0]).mul_(reset * (1 - reset))
        torch.sub(states_TBH[:-1], new, out=by_h_TB3H[:, :, 1]).mul_(update * (1 - update))
        torch.mul(through_new_TBH, reset, out=by_h_TB3H[:, :, 2])

        # last step first: by_h becomes the gradient of U h + d, dstates that of the state after each step
        dstates_TBH = torch.empty_like(states_TBH)
        dstates_TBH[-1] = dy_TBH[-1]
        dy = dy_TBH.unbind()
        dstates = dstates_TBH.unbind()
        factors, gradients, kept = by_h_TB3H.unbind(), by_h_TB3H.flatten(2).unbind(), update.unbind()
        for t in reversed(range(len(factors))):
            dafter, dbefore = dstates[t + 1], dstates[t]
            factors[t].mul_(dafter[:, None])
            if t:
                torch.addcmul(dy[t - 1], dafter, kept[t], out=dbefore)
            else:  # no output shows the state before the first token
                torch.mul(dafter, kept[t], out=dbefore)
            dbefore.addmm_(gradients[t], u_3HH)

        by_h_R3H = by_h_TB3H.view(rows, 3 * hidden)
        du_3HH = by_h_R3H.T @ states_TBH[:-1].view(rows, hidden)
        dd_3H = by_h_R3H.sum(0)
        # W x + b meets the new value outside the reset gate; in all else its gradient is that of U h + d
        torch.mul(dstates_TBH[1:], through_new_TBH, out=by_h_TB3H[:, :, 2])
        dx_TBD = (by_h_R3H @ w_3HD).view_as(x_TBD)
        dw_3HD = by_h_R3H.T @ x_TBD.reshape(rows, -1)
        return dx_TBD, dstates_TBH[0], dw_3HD, du_3HH, by_h_R3H.sum(0), dd_3H


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch.compile would unroll the loop
def gru_on_cpu(x_BTD: Tensor, h_1BH: Tensor, weights: list[Tensor], *options: object) -> tuple[Tensor, Tensor]:
    """One layer, one direction, in place of the library's function: y (B, T, H) and the last state (1, B, H)."""
    w_3HD, u_3HH, b_3H, d_3H = weights
    y_TBH = GruThroughTime.apply(x_BTD.transpose(0, 1), h_1BH[0], w_3HD, u_3HH, b_3H, d_3H)
    return y_TBH.transpose(0, 1), y_TBH[-1:]
