"""The commands that fit, score and test groups, and what belongs to these.

Everything heavy is imported inside the command that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from upland.cli import options as option
from upland.cli.app import command
from upland.cli.checks import (
    check,
    check_changes_fit,
    check_checkpoint,
    check_maps_fit,
    check_model_file,
    check_numbers,
    is_ray,
    request_of,
    size_of,
    text_or_number,
)
from upland.cli.console import (
    ANOMALY,
    Reporter,
    alone,
    claimed,
    console,
    reporting,
    writing,
)
from upland.cli.watched import normal_rows

if TYPE_CHECKING:
    from rich.console import Console

    from upland.cli.results import Result
    from upland.detectors.base import Detector
    from upland.io.replace import Claim


@command
def fit(
    data: option.Normal,
    output: option.NewModel,
    model: option.Family = "energy",
    modality: option.ModalityOf = "auto",
    time: option.Time = None,
    id: option.Id = None,
    window: option.Window = None,
    stride: option.Stride = None,
    per: option.Per = None,
    smoothing: option.Smoothing = None,
    size: option.Size = None,
    mode: option.Mode = None,
    features: option.FeaturesOf = None,
    classes: option.Classes = None,
    criterion: option.Criterion = None,
    noise: option.Noise = None,
    prior: option.Prior = None,
    nets: option.Nets = None,
    categorical: option.Categorical = None,
    ignore: option.Ignore = None,
    context: option.Context = None,
    calendar: option.CalendarOf = None,
    by: option.Segments = None,
    unseen: option.Unseen = None,
    decimal: option.Decimal = None,
    thousands: option.Thousands = None,
    missing: option.Missing = None,
    dayfirst: option.DayFirst = None,
    dates: option.DatesAs = None,
    calibration: option.Procedure = None,
    keep_rows: option.Keep = None,
    epochs: option.Epochs = None,
    seed: option.Seed = 0,
    checkpoint: option.Checkpoint = None,
    device: option.Device = None,
    engine: option.Engine = "local",
    address: option.Address = None,
    workers: option.Workers = None,
    overwrite: option.Overwrite = False,
    wait: option.Wait = 0.0,
    quiet: option.Quiet = False,
    as_json: option.Json = False,
) -> None:
    """Learn what normal data look like and write a model file.

    A table has a row for each case; with --by each machine, shop or site gets a model of its own. With --time
    or --id its rows are time steps of sequences, as they are in an array of three dimensions; images come as
    a folder or an array. With --engine ray DATA are Parquet files of rows, as many as there are. A history
    of `upland watch` stands for the rows of its normal batches.
    """
    chosen = {
        **{"modality": modality, "time": time, "id": id, "window": window, "stride": stride, "per": per},
        **{"size": None if size is None else size_of(size), "keep_rows": keep_rows, "classes": classes},
        **{"mode": mode, "features": features, "criterion": criterion, "noise": noise, "prior": prior},
        **{"by": by, "unseen": unseen, "categorical": categorical, "ignore": ignore, "epochs": epochs},
        **{"context": context, "calendar": calendar, "decimal": decimal, "thousands": thousands},
        **{"missing": None if missing is None else [text_or_number(m) for m in missing], "device": device},
        **{"dayfirst": dayfirst, "dates": dates, "smoothing": smoothing, "calibration": calibration},
        **{"random_state": seed, "n_nets": nets, "progress": False if quiet or as_json else "auto"},
    }
    with reporting(as_json, quiet, data) as reporter, alone(output, wait):
        check_numbers(noise, device)
        _check_files(output, data, checkpoint, overwrite)
        cluster = (address, workers) if is_ray(engine, address, workers) else None
        with claimed(output, overwrite) as target, normal_rows(reporter, data) as rows:
            _save(reporter, _fitted(reporter, rows, model, _given(chosen), checkpoint, cluster), target)


def _given(chosen: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, by the names of the arguments."""
    return {name: value for name, value in chosen.items() if value is not None}


def _check_files(output: Path, data: Path, checkpoint: Path | None, overwrite: bool) -> None:
    """Refuse, before any work, files that a fit could not write."""
    check_model_file(output, data, overwrite)
    check_checkpoint(checkpoint, output, data)


def _fitted(
    reporter: Reporter,
    data: Path,
    model: str,
    given: dict[str, Any],
    checkpoint: Path | None,
    cluster: tuple[str | None, int | None] | None,
) -> Detector:
    """A detector that has learned from what is at a path, here or on a cluster."""
    from upland.cli.inputs import OF_SEGMENTS, array_in, check_model, form_of, mask_in, modality_in
    from upland.detectors.auto import detector_for

    classes = given.pop("classes", None)
    given["modality"] = modality_in(data, given)
    check_model(model, data, given)
    if given["modality"] == "image" and "ignore" in given:
        given["ignore"] = mask_in(given["ignore"])
    an_array = given["modality"] == "sequence" and form_of(data, given["modality"]) == "array"
    x = array_in(data) if an_array else data
    of_segments = {name: given.pop(name) for name in OF_SEGMENTS if name in given}
    detector = detector_for(x, model, **given)
    if of_segments:
        from upland.detectors.segmented import SegmentedDetector

        detector = SegmentedDetector(detector, **of_segments)
    if classes is not None:
        from upland.cli.classes import fit_with_classes

        return fit_with_classes(detector, x, classes, checkpoint)
    if cluster is None:
        return detector.fit(x, checkpoint=checkpoint)
    from upland.cli.engines import fit_partitions

    fit_partitions(reporter, detector, data, checkpoint, *cluster)
    return detector


@command
def score(
    model: option.Model,
    data: option.Rows,
    output: option.Scored = None,
    alpha: option.OfModel = None,
    control: option.Control = "false_alarm",
    why: option.Why = False,
    counterfactual: option.Counterfactual = None,
    top: option.Top = 10,
    maps: option.MapsIn = None,
    all_maps: option.AllMaps = False,
    replace_columns: option.Replace = False,
    engine: option.Engine = "local",
    address: option.Address = None,
    workers: option.Workers = None,
    fail_on_anomaly: option.FailOn = False,
    overwrite: option.Overwrite = False,
    wait: option.Wait = 0.0,
    quiet: option.Quiet = False,
    as_json: option.Json = False,
) -> None:
    """Score data: adds anomaly_score, p_value, is_anomaly and, with --why, the reasons, with
    --counterfactual N what would make flagged rows of a table normal.

    Without -o nothing is written and the most anomalous are shown. With --engine ray -o is a folder, which
    gets a file for each file of DATA; a call that is repeated does what is missing.
    """
    wanted: dict[str, Any] = {"control": control, "why": why, "counterfactual": counterfactual}
    wanted |= {"top": top, "replace_columns": replace_columns}
    with reporting(as_json, quiet, data) as reporter, alone(output, wait):
        if is_ray(engine, address, workers):
            from upland.cli.engines import folder_of, score_partitions

            folder = folder_of(output, counterfactual, maps)
            flags: tuple[Any, ...] = (fail_on_anomaly, alpha, control, why)
            options: dict[str, Any] = {"replace_columns": replace_columns, "overwrite": overwrite}
            options |= {"address": address, "workers": workers}
            score_partitions(reporter, model, data, folder, *flags, **options)
            return
        text = "--all-maps says which heat maps are written: say where with --maps DIR"
        check(maps is not None or not all_maps, text)
        request = request_of(reporter, output, alpha, overwrite, **wanted)
        from upland.cli.scoring import score_path
        from upland.persistence import load

        detector = load(model)
        check_maps_fit(detector, maps)
        check_changes_fit(detector, counterfactual)
        if alpha is None:
            request = replace(request, alpha=detector.alpha_)
        result = score_path(detector, data, request, maps, all_maps, quiet or as_json)
        if output is not None and result.carried:
            reporter.note(f"not used by the model, carried through: {', '.join(result.carried)}")
        _report(reporter, result, fail_on_anomaly, maps)


@command
def groups(
    model: option.Model,
    data: option.Rows,
    by: option.By,
    output: option.Tested = None,
    alpha: option.Alpha = 0.05,
    control: option.GroupControl = "fdr",
    statistic: option.GroupStatistic = "auto",
    classes: option.Expected = None,
    top: option.Shown = 20,
    engine: option.Engine = "local",
    address: option.Address = None,
    workers: option.Workers = None,
    fail_on_anomaly: option.FailOn = False,
    overwrite: option.Overwrite = False,
    wait: option.Wait = 0.0,
    quiet: option.Quiet = False,
    as_json: option.Json = False,
) -> None:
    """Test whole groups of rows: is this batch, shift, lot or site anomalous?

    Each gets a p-value for all of its rows together, even where every single row looks normal.
    """
    with reporting(as_json, quiet, data) as reporter, alone(output, wait):
        request = request_of(reporter, output, alpha, overwrite, control=control, top=top)
        from upland.cli.groups import score_groups, with_ray
        from upland.persistence import load

        way = with_ray(reporter, model, address, workers) if is_ray(engine, address, workers) else None
        detector = load(model)
        if classes is not None:
            from upland.cli.classes import against_classes

            way = against_classes(detector, classes)
        result = score_groups(detector, data, by, request, statistic, way)
        _report(reporter, result, fail_on_anomaly)


@command
def info(model: option.Model, as_json: option.Json = False) -> None:
    """Print what a model file holds: modality, columns, calibration, guarantee, training."""
    with reporting(as_json) as reporter:
        from upland.cli.rendering import described, info_lines
        from upland.persistence import load

        found = described(load(model))
        reporter.result(lambda: found, lambda screen: screen.print(info_lines(found)))


@command
def calibrate(
    model: option.Model,
    data: option.Normal,
    output: option.Renewed = None,
    in_place: option.InPlace = False,
    classes: option.Classes = None,
    overwrite: option.Overwrite = False,
    wait: option.Wait = 0.0,
    quiet: option.Quiet = False,
    as_json: option.Json = False,
) -> None:
    """Renew the calibration on fresh normal data; the model itself is not fitted again.

    DATA may be a history of `upland watch`, which stands for the rows of its normal batches.
    """
    text = "say where the renewed model goes: either -o FILE or --in-place"
    check((output is None) == in_place, text)
    with reporting(as_json, quiet, data) as reporter, alone(output or model, wait):
        check_model_file(output or model, data, overwrite or in_place)
        from upland.cli.scoring import normal_data
        from upland.persistence import load

        detector = load(model)
        with claimed(output or model, overwrite or in_place) as target, normal_rows(reporter, data) as rows:
            fresh = normal_data(detector, rows)
            if classes is None:
                detector.calibrate(fresh)
            else:
                from upland.cli.classes import calibrate_with_classes

                calibrate_with_classes(detector, fresh, classes)
            _save(reporter, detector, target)


@command
def refine(
    model: option.Model,
    data: option.Labelled,
    label: option.Label,
    output: option.Renewed = None,
    in_place: option.InPlace = False,
    overwrite: option.Overwrite = False,
    wait: option.Wait = 0.0,
    quiet: option.Quiet = False,
    as_json: option.Json = False,
) -> None:
    """Refine the model by a few labelled rows, anomalies and normal ones; it is not fitted again.

    p-values keep their guarantee: they are by normal rows in the model file that have no part in it.
    """
    text = "say where the refined model goes: either -o FILE or --in-place"
    check((output is None) == in_place, text)
    with reporting(as_json, quiet, data) as reporter, alone(output or model, wait):
        check_model_file(output or model, data, overwrite or in_place)
        from upland.cli.scoring import normal_data
        from upland.detectors.refining import check_model
        from upland.detectors.segmented import SegmentedDetector
        from upland.detectors.table import EnergyDetector
        from upland.persistence import load

        detector = load(model)
        if isinstance(detector, SegmentedDetector):
            raise ValueError("a detector of segments cannot be refined: fit a model without --by")
        check_model(detector)
        assert isinstance(detector, EnergyDetector)
        with claimed(output or model, overwrite or in_place) as target:
            detector.refine(normal_data(detector, data), label)
            _save(reporter, detector, target)


@command
def demo(
    out: option.Folder = Path("upland-demo"), wait: option.Wait = 0.0, as_json: option.Json = False
) -> None:
    """Fit and score real data (biopsies, patients of eight clinics, handwritten digits) and a series of
    pumps, and show what comes out. Files of an earlier run are replaced.
    """
    with reporting(as_json) as reporter, alone(out, wait):
        from upland.cli.demonstration import load_demonstration

        load_demonstration().run(out, console(io.StringIO() if as_json else sys.stdout))
        files = sorted(path.name for path in out.iterdir()) if as_json else []
        reporter.result(lambda: {"folder": str(out), "files": files}, lambda screen: None)


def _save(reporter: Reporter, detector: Detector, output: Claim) -> None:
    """Write the model and show what it is."""
    from upland.cli.rendering import described, info_lines
    from upland.persistence import save

    with writing(output.path):
        save(detector, output)
    found = described(detector)

    def show(screen: Console) -> None:
        screen.print(info_lines(found))
        screen.print(f"wrote {output}", soft_wrap=True)

    reporter.result(lambda: {"model": str(output), "info": found}, show)


def _report(reporter: Reporter, result: Result, fail_on_anomaly: bool, maps: Path | None = None) -> None:
    """Print the line of a result; without an output file also the most anomalous.

    Raises:
        typer.Exit: Something is flagged, and the user wants that to be an exit code.
    """
    from upland.cli.rendering import document, findings_table, line, note

    target = result.request.target

    def show(screen: Console) -> None:
        if target is None:
            screen.print(findings_table(result))
            screen.print(note(result), style="dim")
        screen.print(line(result))
        if target is not None and not reporter.beside:
            screen.print(f"wrote {target}", soft_wrap=True)
        if written := result.details.get("maps"):
            screen.print(f"wrote {written} heat map(s) into {maps}/", soft_wrap=True)

    output = None if target is None else str(target)
    reporter.result(lambda: {**document(result), "output": output}, show)
    if fail_on_anomaly and result.flagged:
        raise typer.Exit(ANOMALY)
