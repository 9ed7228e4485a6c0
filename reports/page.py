"""Pages: `render` for one run, `render_index` for all. Each page is one file that needs no network.

A run's page lies at `<site>/<run_id>/<suite>.html` with its CSV files; `<site>/<suite>.html` and its CSV files are
copies for the run rendered last. Suites register a builder in BUILDERS; the base template gives them all the same head,
notices, environment and tables.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.resources
import importlib.util
import math
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports import beside, words
from reports.data import RunData, kind_of, load
from reports.style import DARK, LIGHT
from reports.together import written
from results.files import write_whole
from results.schema import SAFE_ID
from results.store import Run, StoreError, no_garbage

if TYPE_CHECKING:
    from reports.comparison.changes import Comparison

# Kind of suite -> module with `TEMPLATE` and `build(data, other) -> (context, csv files)`.
BUILDERS = {"scaling": "reports.scaling", "train": "reports.training.build"}


class ReportError(RuntimeError):
    """A page cannot be made or written; the message is one line that names the fix."""


def render(run: Run, site: Path, other: Run | None = None) -> Path:
    """Write the page and the CSV files of a run; returns `<site>/<suite>.html`. `other`: a run to show beside it.

    Raises ReportError for a suite without a page, for a run beside that is of another kind, or for a place that cannot be
    written, StoreError for a damaged run.
    """
    from reports.canvas import draw, sketching  # matplotlib is slow to import; `import reports.page` stays light

    began = time.perf_counter()
    plan = run.read_json("plan.json")
    suite = str(plan.get("suite", ""))
    kind = kind_of(plan)
    if kind not in BUILDERS:
        raise ReportError(f"no page for suite {suite!r}; there are pages for {', '.join(sorted(BUILDERS))}")
    if not SAFE_ID.fullmatch(suite):  # a part of files' names
        raise ReportError(f"suite {suite!r} of {run.folder}: use letters, digits, '.', '_' and '-' only")
    builder = importlib.import_module(BUILDERS[kind])
    try:
        with no_garbage():
            data, reference = load(run), load(other) if other is not None else None
            if reference is not None:
                beside.check(plan, reference.run_id, reference.plan)
            with sketching() as plots:
                context, csv = builder.build(data, reference)
            draw(plots)
            shared = _shared(data, time.perf_counter() - began)
            page = _environment().get_template(builder.TEMPLATE).render(**shared, **context)
            tables = {name: written(text) for name, text in csv.items()}
    except (StoreError, ReportError):
        raise
    except beside.Unlike as error:
        raise ReportError(str(error)) from None
    except Exception as error:
        raise _damaged(str(run.folder), error) from error
    _write(site / run.run_id, {f"{suite}.html": page, **tables})
    _write(site, {f"{suite}.html": page.replace('href="../index.html"', 'href="index.html"')})
    _copy(site / run.run_id, site, list(tables))
    return site / f"{suite}.html"


def _damaged(where: str, error: Exception) -> ReportError:
    what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ReportError(f"{where} cannot be shown ({what}): a plan or records are damaged or of another version")


def render_index(runs: list[Run], site: Path) -> Path:
    """Write `index.html`: every run, newest first. A run that cannot be read keeps a row that says so."""
    rows = sorted((_index_row(run, site) for run in runs), key=lambda r: (r["created"], r["run_id"]), reverse=True)
    suites = {r["suite"] for r in rows if SAFE_ID.fullmatch(r["suite"]) and (site / f"{r['suite']}.html").exists()}
    template = _environment().get_template("index.html.j2")
    page = template.render(title="Seqbench reports", rows=rows, suites=sorted(suites), **_assets(tables=False))
    _write(site, {"index.html": page})
    return site / "index.html"


def render_comparison(one: Run, other: Run, site: Path) -> tuple[Path, Comparison]:
    """Write `<site>/compare/<one>--<other>/compare.html` with its CSV file; returns the page and what it says.

    Raises ReportError where the two cannot be compared, StoreError for a damaged run.
    """
    from reports.comparison.build import TEMPLATE, build, compare

    try:
        a, b = load(one), load(other)
        found = compare(a, b)
        context, csv = build(a, b, found)
    except (StoreError, ReportError):
        raise
    except ValueError as error:
        raise ReportError(str(error)) from None
    except Exception as error:
        raise _damaged(f"{one.folder} and {other.folder}", error) from error
    page = _environment().get_template(TEMPLATE).render(**context, **_assets(tables=True))
    folder = site / "compare" / f"{one.run_id}--{other.run_id}"
    _write(folder, {"compare.html": page.replace('href="../index.html"', 'href="../../index.html"'), **csv})
    return folder / "compare.html", found


def render_translation(run_id: str, text: str, found: list[dict[str, Any]], site: Path) -> Path:
    """Write `translate.html`: one text through all models that a run has kept."""
    from reports.translation.page import maps

    template = _environment().get_template("translate.html.j2")
    page = template.render(
        title=text, text=text, run_id=run_id, found=found, plots=maps(found), **_assets(tables=False)
    )
    _write(site, {"translate.html": page})
    return site / "translate.html"


def _index_row(run: Run, site: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"run_id": run.run_id, "created": "", "suite": "", "preset": "", "device": "", "ok": 0,
                           "failed": 0, "link": "", "note": "", "wall": ""}  # fmt: skip
    try:
        plan, summary, environment = (run.read_json(f"{n}.json") for n in ("plan", "summary", "environment"))
        trials = {str(k): int(v) for k, v in (summary.get("trials") or {}).items()}
        wall = float(summary.get("wall_s") or float("nan"))
    except StoreError as error:
        return {**row, "note": str(error)}
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        return {**row, "note": f"summary.json is damaged ({error})"}
    suite = str(plan.get("suite", ""))
    page = f"{run.run_id}/{suite}.html"
    return {
        **row, "created": str(plan.get("created", "")), "suite": suite, "preset": str(plan.get("preset", "")),
        "device": str(environment.get("device_name") or plan.get("device", "")),
        "ok": trials.get("ok", 0), "failed": sum(v for k, v in trials.items() if k != "ok"),
        "link": page if SAFE_ID.fullmatch(suite) and (site / page).is_file() else "",
        "note": "" if summary.get("complete") else "incomplete",
        "wall": words.duration(wall),
    }  # fmt: skip


def _shared(data: RunData, drawing_s: float) -> dict[str, Any]:
    """What every page of a run shows, whatever its suite. `drawing_s`: seconds that fits and figures took."""
    counts: dict[str, int] = {}
    for record in data.records:
        counts[record.status] = counts.get(record.status, 0) + 1
    return {
        "run_id": data.run_id,
        "plan": data.plan,
        "environment": [(k, v) for k, v in _environment_rows(data) if v not in (None, "", "None")],
        "counts": counts,
        "again": data.run_id if data.folder is not None and (data.folder / "trials.jsonl").is_file() else "",
        "sections": _sections(data, drawing_s),
        "protocol": ", ".join(sorted({r.protocol for r in data.records})) or "none (no record)",
        "architectures": data.architectures,
        **_assets(tables=True),
    }


def _environment_rows(data: RunData) -> list[tuple[str, Any]]:
    env = data.environment

    def size(name: str) -> str:
        return words.memory(float(env[name])) if env.get(name) else ""

    return [
        ("device", env.get("device_name") or env.get("device") or data.plan.get("device")),
        ("processor", env.get("cpu")),
        ("cores / threads used", f"{env.get('cores', '?')} / {env.get('threads', '?')}"),
        ("memory", size("memory_bytes")),
        ("GPU memory", size("gpu_memory_bytes")), ("system", env.get("os")), ("Python", env.get("python")),
        ("torch", env.get("torch")), ("CUDA", env.get("cuda")), ("driver", env.get("driver")),
        ("matrix product, measured", _roof(data, "matmul_throughput", "FLOP/s")),
        ("copy in memory, measured", _roof(data, "copy_bandwidth", "B/s")),
        ("number format", data.plan.get("dtype")), ("mode", data.plan.get("mode")), ("equal", data.plan.get("match")),
        ("code", f"{env.get('git_commit') or 'unknown'}{' + uncommitted changes' if env.get('git_dirty') else ''}"),
        ("load at start", f"{env['load_at_start']} busy cores" if env.get("load_at_start") is not None else ""),
        ("timer resolution", words.seconds(float(env["timer_resolution_s"])) if env.get("timer_resolution_s") else ""),
    ]  # fmt: skip


def _roof(data: RunData, metric: str, unit: str) -> str:
    """The machine's own rate in this run, all threads; empty where it was not measured."""
    if not any(record.kind == "roof" for record in data.records):
        return ""
    cells = next(
        (c for k, c in data.cells.items() if k.kind == "roof" and (k.phase, k.metric) == ("all_threads", metric)), {}
    )
    return words.count(next(iter(cells.values())).value, unit) if cells else ""


def _sections(data: RunData, drawing_s: float) -> list[tuple[str, str, str]]:
    """Where the time went: (section, duration, share of the wall time)."""
    wall = float(data.summary.get("wall_s") or 0)
    if not wall:
        return []
    wall += drawing_s
    measured = data.summary.get("measured_s")
    parts = {"measured steps": measured, **(data.summary.get("sections") or {}), "fits and drawing": drawing_s}
    if isinstance(measured, int | float):
        parts["all outside measured steps"] = wall - measured
    rows = [(n, words.duration(float(v)), f"{100 * float(v) / wall:.0f} %") for n, v in parts.items()
            if isinstance(v, int | float)]  # fmt: skip
    rows.append(("whole run", words.duration(wall), "100 %"))
    guess = float(data.estimate.get("wall_s") or math.nan)
    if math.isfinite(guess):
        rows.append(
            ("estimated before it began, drawing left out", words.duration(guess), f"{100 * guess / wall:.0f} %")
        )
    return rows


def _environment() -> Environment:
    made = Environment(loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True)  # fmt: skip
    made.filters |= {"integer": words.integer, "short": words.short, "safe_svg": Markup}
    return made


def _assets(tables: bool) -> dict[str, Any]:
    """Styles and scripts for inlining: own ones, and the DataTables bundle that itables ships."""
    folder = importlib.resources.files("reports") / "templates"
    variables = "".join(f"--s{i}:light-dark({a},{b});" for i, (a, b) in enumerate(zip(LIGHT, DARK, strict=True)))
    script = f"\n{(folder / 'page.js').read_text(encoding='utf-8')}\n"
    assets = {
        "style": Markup(f":root{{{variables}}}\n" + (folder / "style.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        # The browser runs this script and no other: where escaping were to fail, what got in would still not run.
        "script_hash": Markup("sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        "bundle_style": "",
        "bundle_script": "",
    }
    if tables:
        bundle = _bundle()
        tables_script = (bundle / "dt_bundle.js").read_text(encoding="utf-8")
        if "</script" in tables_script.lower():
            raise ReportError("the DataTables bundle of this itables version cannot be inlined; use itables 2.9")
        assets["bundle_style"] = Markup((bundle / "dt_bundle.css").read_text(encoding="utf-8"))
        assets["bundle_script"] = Markup(tables_script)
    return assets


def _bundle() -> Path:
    """Where itables has its bundle; without importing it, which would bring pandas along: half a second."""
    found = importlib.util.find_spec("itables")
    if found is None or not found.submodule_search_locations:
        raise ReportError("itables is not installed, whose tables pages use; pip install itables")
    return Path(found.submodule_search_locations[0]) / "html"


def _copy(source: Path, folder: Path, names: list[str]) -> None:
    """Files that are there already: writing 80 MB of curves once more takes a second."""
    try:
        for name in names:
            with open(source / name, "rb") as original:
                write_whole(folder / name, partial(shutil.copyfileobj, original), sync=False)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> ReportError:
    return ReportError(f"cannot write {folder}: {error.strerror}; choose another place for the site")


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_whole(folder / name, text, sync=False)
    except OSError as error:
        raise _unwritable(folder, error) from error
