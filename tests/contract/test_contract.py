"""DESIGN's contract over the whole registry, each architecture in each mode it claims. A new one is tested by being
registered; `pytest tests/contract/test_contract.py --plugin my_file.py` runs the same on a plug-in alone.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from bench import conformance
from bench.conformance import ContractBroken, Subject, small_settings
from bench.contract import Encoder, select_state, state_bytes
from bench.execute.measurements import KINDS
from bench.execute.session import Session
from bench.models import streams
from bench.registry import ARCHITECTURES, load_plugin
from bench.trial import Trial
from tests.conftest import FAULTY


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" not in metafunc.fixturenames:
        return
    plugins = metafunc.config.getoption("--plugin")
    subjects = []
    for entry in ARCHITECTURES.entries.values():
        if entry.images or (plugins and entry.source not in plugins):
            continue  # those made for images: see test_grids.py
        settings = small_settings(entry)
        why: list[Exception] = []
        probe: Any = next((s.build("meta") for s in _both(entry, settings) if _builds(s, why)), None)
        assert probe is not None, f"{entry.name} can be built in neither mode: {type(why[-1]).__name__}: {why[-1]}"
        subjects += [s for s in _both(entry, settings) if s.mode in probe.traits.modes]
    metafunc.parametrize("subject", subjects, ids=[f"{s.entry.name}-{s.mode}" for s in subjects])


def _both(entry: Any, settings: dict[str, Any]) -> list[Subject]:
    return [Subject(entry, settings, "causal"), Subject(entry, settings, "bidirectional")]


def _builds(subject: Subject, why: list[Exception]) -> bool:
    try:
        subject.build("meta")
    except Exception as error:
        why.append(error)
        return False
    return True


def test_shape(subject: Subject) -> None:
    assert isinstance(subject.build(), Encoder)
    for length in (1, 2, 37, 64):
        conformance.check_shape(subject, length)


def test_causality_at_every_cut(subject: Subject) -> None:
    conformance.check_causality(subject, 24, range(1, 24))
    conformance.check_causality_of_a_stranger(subject)


def test_half_precision_stays_near(subject: Subject) -> None:
    """As trainings in bfloat16 run it: products in bfloat16, and sums over a sequence in what can hold them."""
    exact, x_BTD = subject.build(), subject.inputs(2, subject.within(300))
    half = copy.deepcopy(exact).float()
    with torch.no_grad():
        y_BTD = exact(x_BTD)
        with torch.autocast("cpu", torch.bfloat16):
            error_BTD = (half(x_BTD.float()) - y_BTD).abs()
    assert error_BTD.mean() < 0.05 * y_BTD.abs().mean(), f"{error_BTD.mean():.3g} of {y_BTD.abs().mean():.3g}"


def test_padding(subject: Subject) -> None:
    for length in (16, 37):
        conformance.check_padding(subject, length)


def test_padding_that_is_not_finite(subject: Subject) -> None:
    """Garbage may be NaN: it must not reach outputs at real tokens through a product with zero."""
    if subject.entry.source != "built-in":
        pytest.skip("more than the contract asks of a plug-in")
    encoder, x_BTD = subject.build(), subject.inputs(2, 20)
    keep_BT = torch.arange(20)[None] < torch.tensor([20, 7])[:, None]
    clean_BTD = encoder(x_BTD, keep_BT)
    dirty_BTD = encoder(x_BTD.masked_fill(~keep_BT[..., None], torch.nan), keep_BT)
    assert torch.equal(clean_BTD, dirty_BTD)


def test_streaming(subject: Subject) -> None:
    if subject.mode != "causal":
        pytest.skip("streaming is for causal encoders")
    if not streams(subject.build()):
        pytest.skip("does not go on from a state")
    for chunks in ((1, 5, 1, 17, 2), (1, 1, 1), (30,)):
        conformance.check_streaming(subject, 37, chunks)
    conformance.check_streaming(subject, 600, (1, 300))  # past the pieces that long chunks are cut into


def test_state_is_selected_by_sequence(subject: Subject) -> None:
    """Beam search reorders states: the state of [2, 0] goes on as sequences 2 and 0 do."""
    encoder: Any = subject.build()
    if subject.mode != "causal" or not streams(encoder):
        pytest.skip("no streaming")
    x_BTD, index_B = subject.inputs(3, 20), torch.tensor([2, 0])
    with torch.no_grad():
        _, state = encoder.step(x_BTD[:, :19], encoder.initial_state(3, x_BTD.device, x_BTD.dtype))
        y_BSD, _ = encoder.step(x_BTD[:, 19:][index_B], select_state(state, index_B))
        assert torch.allclose(y_BSD[:, 0], encoder(x_BTD)[index_B, 19], atol=1e-9)
    assert state_bytes(state) > 0


def test_gradients(subject: Subject) -> None:
    conformance.check_gradients(subject)


def test_reference(subject: Subject) -> None:
    for length in (1, 7, 8, 37, 64):
        conformance.check_reference(subject, length)


def test_receptive_field(subject: Subject) -> None:
    conformance.check_receptive_field(subject)


def test_costs(subject: Subject) -> None:
    conformance.check_costs(subject)


def test_seeds(subject: Subject) -> None:
    conformance.check_seeds(subject)


def test_path_claim(subject: Subject) -> None:
    """How the layers that connect both ends grow: not at all, by one a doubling, or as fast as the length."""
    from bench.measure.path import layers_to_connect
    from bench.models import build_encoder

    def build(depth: int) -> Any:
        causal = subject.mode == "causal"
        return build_encoder(subject.entry, subject.settings, subject.width, depth, causal, dtype=torch.float64)

    short, long = (layers_to_connect(build, n, subject.width) for n in (32, 64))
    traits = subject.traits
    if traits.path == "constant" or not traits.parallel_in_time:
        assert short == long == 1  # a recurrence's path is long in steps, not in layers: test_costs has its span
    elif traits.path == "logarithmic":
        assert short < long <= short + 1
    else:
        assert long >= 1.6 * short


def test_float32_is_close_to_float64(subject: Subject) -> None:
    exact = subject.build()
    rough = cast(Any, subject.build()).float()
    x_BTD = subject.inputs(2, 37)
    with torch.no_grad():
        assert torch.allclose(rough(x_BTD.float()).double(), exact(x_BTD), atol=2e-4)


class TestChecksCanFail:
    """Every check above finds the fault that it is there for."""

    def faulty(self, name: str) -> Subject:
        load_plugin(str(FAULTY))
        return Subject(ARCHITECTURES.get(name), {}, "causal")

    @pytest.mark.parametrize(
        ("name", "check", "message"),
        [
            ("leaks", conformance.check_causality, "leaks the future"),
            ("wrong_shape", conformance.check_shape, "wrong shape"),
            ("not_finite", lambda s: conformance.check_shape(s, 300), "NaN"),
            ("fills_padding", conformance.check_padding, "not zero"),
            ("mixes_the_batch", conformance.check_padding, "differs from the same alone"),
            ("sees_far", conformance.check_causality_of_a_stranger, "leaks the future: output 0"),
            ("norms_over_tokens", conformance.check_causality_of_a_stranger, "in training mode"),
            ("leaks", conformance.check_receptive_field, "declared 1"),
        ],
    )
    def test_fault_is_found(self, name: str, check: Any, message: str) -> None:
        with pytest.raises(ContractBroken, match=message):
            check(self.faulty(name))

    @pytest.mark.parametrize("name", ["honest", "gated"])
    def test_what_is_right_passes(self, name: str) -> None:
        for check in (*conformance.QUICK_CHECKS.values(), conformance.check_causality_of_a_stranger):
            check(self.faulty(name))

    def test_a_shared_decoder_is_checked_where_others_use_it(self) -> None:
        load_plugin(str(FAULTY))
        trial = Trial(
            kind="check", architecture="gru", task="", mode="bidirectional", regime="", width=16, depth=2, parameters=0,
            batch=1, length=0, dtype="float32", device="cpu", seed=0, phases=(), worker="gru", decoder="attention, dot",
        )  # fmt: skip
        session = cast(Session, SimpleNamespace(send=lambda *_: None))
        KINDS["check"](trial, session)
        with pytest.raises(ContractBroken, match="leaks the future"):
            KINDS["check"](replace(trial, decoder="leaks, dot"), session)

    def test_false_claims_are_found(self) -> None:
        entry = ARCHITECTURES.get("attention")

        def lying(claim: dict[str, Any], config: Any, width: int, depth: int, causal: bool, grid: None = None) -> Any:
            encoder = entry.build(config, width, depth, causal)
            encoder.traits = replace(encoder.traits, **claim)
            return encoder

        for claim, message in (({"time_exponent": 1.0}, r"T\^2"), ({"parallel_in_time": False}, "sequential in time")):
            with pytest.raises(ContractBroken, match=message):
                conformance.check_costs(Subject(replace(entry, build=partial(lying, claim)), {}, "causal"))


@pytest.mark.parametrize("name", ["attention", "conv1d"])
@pytest.mark.parametrize("most", [8, 20, 33])
def test_checks_keep_to_the_longest_that_is_accepted(name: str, most: int) -> None:
    subject = Subject(ARCHITECTURES.get(name), {"positions": "learned", "max_length": most}, "causal")
    checks = (conformance.check_streaming, conformance.check_padding, conformance.check_receptive_field)
    for check in (*conformance.QUICK_CHECKS.values(), *checks):
        check(subject)
    conformance.check_reference(subject, 100)
    conformance.check_costs(replace(subject, settings={**subject.settings, "max_length": 600}))
