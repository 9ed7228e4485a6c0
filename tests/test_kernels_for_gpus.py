"""What is written for GPUs, as far as a CPU can show it; and, marked `gpu`, what only a GPU can."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend

from architectures import recurrent, sdpa
from architectures.flex import band_block_mask, flex_band
from architectures.recurrent import flip_real
from bench.measure.device import open_device
from bench.models import build_encoder
from bench.registry import ARCHITECTURES
from bench.scaled_dot import scaled_dot, with_wider_heads
from tests.command import run_all_anew
from tests.test_faults import records

FLASH, CUDNN, EFFICIENT = SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION


def test_the_fastest_backend_that_works_is_chosen() -> None:
    times = {CUDNN: 1.0, FLASH: 1.5}

    def seconds(backend: SDPBackend) -> float:
        if backend not in times:
            raise RuntimeError(f"{backend} refuses")
        return times[backend]

    assert sdpa.fastest((CUDNN, FLASH, EFFICIENT), seconds) == CUDNN
    times[FLASH] = 0.5
    assert sdpa.fastest((CUDNN, FLASH, EFFICIENT), seconds) == FLASH
    times.clear()
    with pytest.raises(RuntimeError, match="no fused attention kernel takes this shape; CUDNN_ATTENTION: "):
        sdpa.fastest((CUDNN, FLASH), seconds)


@pytest.mark.parametrize(("left", "right"), [(255, 0), (0, 0), (63, 0), (128, 128), (40, 40), (1000, 1000)])
@pytest.mark.parametrize("length", [128, 300, 640])
def test_block_mask_of_a_band(length: int, left: int, right: int) -> None:
    """The sparse mask, built from two borders, has every block that the dense band touches; none it calls whole is not."""
    mask = band_block_mask(length, left, right, torch.device("cpu"))
    i, j = torch.arange(length)[:, None], torch.arange(length)[None]
    band = (i - j <= left) & (j - i <= right)
    for q in range(-(-length // 128)):
        rows = slice(128 * q, min(128 * (q + 1), length))
        partial = set(mask.kv_indices[0, 0, q, : mask.kv_num_blocks[0, 0, q]].tolist())
        whole = set(mask.full_kv_indices[0, 0, q, : mask.full_kv_num_blocks[0, 0, q]].tolist())
        assert not partial & whole
        for k in range(-(-length // 128)):
            block = band[rows, 128 * k : 128 * (k + 1)]
            assert (k in partial | whole) or not block.any()
            assert k not in whole or (block.all() and block.shape[1] == 128)


@pytest.mark.slow
def test_flex_equals_the_reference_on_cpu() -> None:
    """Forward only: FlexAttention has no backward on CPU. Compiles, which takes a while."""
    q, k, v = (torch.randn(1, 2, 300, 16) for _ in range(3))
    i, j = torch.arange(300)[:, None], torch.arange(300)[None]
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=(i - j <= 63) & (j <= i))
    with torch.no_grad():
        assert torch.allclose(flex_band(q, k, v, 63, 0), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("causal", [True, False])
def test_chunks_carry_the_state(name: str, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a kernel has a length limit the sequence is split: drive the split path, which a CPU never takes by itself."""
    encoder = build_encoder(ARCHITECTURES.get(name), {}, 8, 1, causal, dtype=torch.float64)
    mixer = encoder.blocks[0].mixer
    x = torch.randn(2, 37, 8, dtype=torch.float64)
    expected = mixer.reference(x)
    monkeypatch.setattr(recurrent, "longest_chunk", lambda x_BTD: 10)
    assert torch.allclose(mixer(x), expected, atol=1e-10)


@pytest.mark.parametrize("scale", [None, 0.3])
def test_padded_heads_change_no_score(scale: float | None) -> None:
    q, k, v = (torch.randn(2, 3, 9, 6, dtype=torch.float64) for _ in range(3))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    found = with_wider_heads(scaled_dot, q, k, v, None, True, scale)
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_weights_in_another_format_lie_as_cudnn_wants_them(bidirectional: bool) -> None:
    core = torch.nn.LSTM(8, 6, batch_first=True, bidirectional=bidirectional)
    made = recurrent._cast(core._flat_weights, torch.bfloat16)
    assert [m.shape for m in made] == [w.shape for w in core._flat_weights]
    assert all(torch.equal(m, w.bfloat16()) for m, w in zip(made, core._flat_weights, strict=True))
    order = sorted(range(len(made)), key=lambda i: made[i].storage_offset())
    assert [made[i].dim() for i in order] == sorted((m.dim() for m in made), reverse=True)
    assert len({m.untyped_storage().data_ptr() for m in made}) == 1
    sum(m.float().sum() for m in made).backward()
    assert all(torch.allclose(w.grad, torch.ones_like(w)) for w in core._flat_weights)


def test_flip_is_its_own_inverse() -> None:
    x = torch.randn(3, 6, 2)
    keep = torch.arange(6)[None] < torch.tensor([6, 4, 1])[:, None]
    flipped = flip_real(x, keep)
    assert torch.equal(flip_real(flipped, keep), x)
    assert torch.equal(flipped[1, :4], x[1, :4].flip(0))
    assert torch.equal(flipped[1, 4:], x[1, 4:])


gpu = pytest.mark.gpu


@gpu
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "conv1d", "tcn", "attention", "windowed", "shifted_window"])
@pytest.mark.parametrize("causal", [True, False])
def test_fast_path_equals_reference_on_cuda(name: str, causal: bool) -> None:
    """Outputs and gradients, float32 with tf32 off, at lengths that do and do not divide by the blocks."""
    open_device("cuda")  # switches tf32 off
    encoder = build_encoder(ARCHITECTURES.get(name), {}, 64, 2, causal, device="cuda").train()
    for T in (128, 333, 1024):
        results = []
        for use_reference in (False, True):
            encoder.use_reference = use_reference
            encoder.zero_grad()
            torch.manual_seed(0)
            x = torch.randn(2, T, 64, device="cuda", requires_grad=True)
            y = encoder(x)
            y.backward(torch.randn_like(y))
            results.append([y.detach(), x.grad])
        for ours, plain in zip(*results, strict=True):
            assert (ours - plain).norm() / plain.norm() < 2e-3


@gpu
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_lengths_that_cudnn_refuses(name: str) -> None:
    encoder = build_encoder(ARCHITECTURES.get(name), {}, 16, 1, True, device="cuda").train()
    x = torch.randn(1, 70_000, 16, device="cuda", requires_grad=True)
    y = encoder(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    short = encoder(x[:, :1000])
    assert torch.allclose(short, y[:, :1000], atol=1e-4)


@gpu
@pytest.mark.parametrize("width", [72, 408])  # heads of 18 and 102: no fused kernel takes them as they are
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["attention", "windowed", "shifted_window"])
def test_every_width_has_a_kernel(name: str, width: int, dtype: str) -> None:
    encoder = build_encoder(ARCHITECTURES.get(name), {}, width, 1, False, device="cuda").train()
    keep = torch.arange(40, device="cuda")[None] < torch.tensor([[40], [23]], device="cuda")
    for mask in (None, keep):
        with torch.autocast("cuda", dtype=getattr(torch, dtype), enabled=dtype != "float32"):
            y = encoder(torch.randn(2, 40, width, device="cuda"), mask)
        y.float().sum().backward()
        assert torch.isfinite(y).all()


@gpu
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("causal", [True, False])
def test_recurrences_under_autocast_are_not_in_float16(name: str, causal: bool) -> None:
    mixer = build_encoder(ARCHITECTURES.get(name), {}, 32, 1, causal, device="cuda").train().blocks[0].mixer
    x = torch.randn(2, 50, 32, device="cuda", requires_grad=True)
    expected = mixer(x)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        y = mixer(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), expected, atol=0.05)
    (1e-7 * y.float()).sum().backward()  # float16 would lose it
    assert x.grad is not None and x.grad.abs().max() > 0


@gpu
def test_backend_is_chosen_by_measuring() -> None:
    sdpa._chosen.clear()
    q = torch.randn(1, 8, 2048, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    sdpa.attend(q, q, q, causal=True).sum().backward()
    assert len(sdpa._chosen) == 1


@gpu
def test_window_memory_is_linear_on_cuda() -> None:
    from bench.measure.device import open_device

    device = open_device("cuda")
    encoder = build_encoder(
        ARCHITECTURES.get("windowed"), {"window": 256}, 64, 1, True, device="cuda", dtype=torch.bfloat16
    )
    peaks = []
    for T in (16_384, 65_536):
        x = torch.randn(1, T, 64, device="cuda", dtype=torch.bfloat16)
        encoder(x).sum().backward()
        peaks.append(device.peak(lambda x=x: encoder(x).sum().backward()).used)
    assert peaks[1] < 5 * peaks[0]


@gpu
def test_cuda_times_and_memory() -> None:
    from bench.measure.device import open_device

    device = open_device("cuda")
    a = torch.randn(4096, 4096, device="cuda")
    device.seconds(lambda: a @ a)
    assert device.seconds(lambda: a @ a) > 1e-4  # 137 GFLOP: a missing wait would show microseconds
    assert device.peak(lambda: torch.empty(1 << 28, device="cuda")).used == 1 << 30


@gpu
@pytest.mark.timeout(900)
def test_the_scaling_suite_runs_on_cuda(tmp_path: Path) -> None:
    done = run_all_anew(
        "--suite", "scaling", "--preset", "smoke", "--device", "cuda", "--out", str(tmp_path), timeout=850
    )
    assert done.returncode == 0, done.stderr
    assert "running, which were ended" not in done.stderr, done.stderr  # helpers of a compiler
    found = records(tmp_path)
    assert {r.status for r in found} <= {"ok", "timeout"}, [
        (r.architecture, r.reason) for r in found if r.status != "ok"
    ]
    named = {r.architecture: r.kernels for r in found if r.kind == "cell" and r.kernels}
    assert named.keys() == {r.architecture for r in found if r.kind == "cell"}, "no kernel is named for some"
