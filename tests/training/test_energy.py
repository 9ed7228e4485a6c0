"""The processor's counters, from a folder made here; they start over at their largest value."""

from __future__ import annotations

from pathlib import Path

from bench.measure.energy import open_meter


def zone(root: Path, number: int, microjoules: int, name: str = "package") -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{name}-{number}\n")
    (folder / "energy_uj").write_text(str(microjoules))
    (folder / "max_energy_range_uj").write_text("9999999")
    return folder


def test_joules_of_all_packages_over_an_overflow(tmp_path: Path) -> None:
    zone(tmp_path, 0, 9_000_000)
    zone(tmp_path, 1, 0)
    zone(tmp_path, 2, 0, "psys")
    meter = open_meter("cpu", tmp_path)
    assert meter is not None and meter.joules() == 0
    zone(tmp_path, 0, 1_000_000)  # went on past 9,999,999 to 1,000,000: two joules
    zone(tmp_path, 1, 500_000)
    zone(tmp_path, 2, 900_000, "psys")  # holds the packages, so it would count them twice
    assert meter.joules() == 2.5


def test_no_counter_no_meter(tmp_path: Path) -> None:
    assert open_meter("cpu", tmp_path) is None
