"""The arguments and options of the command line, each defined once; choices come from the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from upland.catalogue import CRITERIA, FAMILIES, FEATURES, FORMATS, MODALITIES, STATISTICS
from upland.cli.standard_input import received

if TYPE_CHECKING:
    OneFamily = str
    OneModality = str
    OneCriterion = str
    OneStatistic = str
else:  # typer makes the choices of an option from a Literal
    OneFamily = Literal[tuple(FAMILIES)]
    OneModality = Literal[("auto", *MODALITIES)]
    OneCriterion = Literal[tuple(CRITERIA)]
    OneStatistic = Literal[tuple(STATISTICS)]

FORMS = (
    f"rows ({', '.join(FORMATS)}), also a folder or a pattern of such files, an address such as s3://, "
    "or - for standard input; an .npy or .npz array; an image or a folder of images."
)
COLUMN = "COLUMN"

Model = Annotated[
    Path, typer.Argument(readable=False, help="A model file that `upland fit` wrote.", show_default=False)
]
Normal = Annotated[
    Path,
    typer.Argument(readable=False, help=f"Normal data: {FORMS}", show_default=False, callback=received),
]
Rows = Annotated[
    Path,
    typer.Argument(
        readable=False,
        help="Data to score, of the modality of the fit; - for standard input.",
        show_default=False,
        callback=received,
    ),
]
Labelled = Annotated[
    Path,
    typer.Argument(
        readable=False,
        help="Labelled rows of a table that the fit has not seen; - for standard input.",
        show_default=False,
        callback=received,
    ),
]
Label = Annotated[
    str,
    typer.Option(metavar=COLUMN, help="The column of labels: 1 for an anomaly, 0 for a normal row."),
]
NewModel = Annotated[
    Path, typer.Option("--output", "-o", readable=False, help="Model file to write (.safetensors).")
]
Renewed = Annotated[Path | None, typer.Option("--output", "-o", readable=False, help="Model file to write.")]
Scored = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        readable=False,
        help="File to write: the data with their scores; - for standard output; a folder with --engine ray.",
    ),
]
ModalityOf = Annotated[
    OneModality,
    typer.Option(
        help="What DATA is; auto decides by the data: a time or id column or 3-d floats are sequences."
    ),
]
Time = Annotated[
    str | None, typer.Option(metavar=COLUMN, help="Orders the time steps of a long table of sequences.")
]
Id = Annotated[
    str | None, typer.Option(metavar=COLUMN, help="Names the sequence of each row of a long table.")
]
Window = Annotated[int | None, typer.Option(min=2, metavar="N", help="Steps of the windows to train on.")]
Stride = Annotated[int | None, typer.Option(min=1, metavar="N", help="Steps from a window to the next.")]
Per = Annotated[
    Literal["sequence", "step"] | None,
    typer.Option(help="Unit of a score; by default a step of a long table, a sequence of an array."),
]
Smoothing = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Steps that the score of a step is smoothed over; 1 does not smooth."
    ),
]
Size = Annotated[str | None, typer.Option(metavar="HxW", help="Bring images to this size, as in 28x28.")]
Mode = Annotated[Literal["grey", "rgb"] | None, typer.Option(help="Bring images to grey or colour.")]
FeaturesOf = Annotated[
    str | None,
    typer.Option(
        "--features",
        metavar="NAME",
        help=f"What images are described by: auto, {', '.join(FEATURES)}; auto goes by the images.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="CLASSES",
        help="Classes of the normal images: subfolders, or a file with a label for each; with --model flow.",
    ),
]
Expected = Annotated[
    str | None,
    typer.Option(
        metavar="CLASSES",
        help="The class that groups of images are to be of: a name, subfolders, or a file of labels.",
    ),
]
Family = Annotated[
    OneFamily,
    typer.Option(help=f"Family of the model: {'; '.join(FAMILIES.values())}."),
]
Criterion = Annotated[
    OneCriterion | None,
    typer.Option(help="What the anomaly score is; which there are depends on --model and DATA."),
]
Noise = Annotated[
    float | None, typer.Option(help="Standard deviation of the training noise (data scaled to 1).")
]
Prior = Annotated[
    Literal["auto", "kernel", "mixture", "centre"] | None,
    typer.Option(
        help="Prior of a table's energy: kernels on training rows (they stay in the file), mixture, centre."
    ),
]
Nets = Annotated[int | None, typer.Option(min=1, metavar="N", help="Neural networks of a table's energy.")]
Categorical = Annotated[
    list[str] | None, typer.Option(metavar=COLUMN, help="Holds codes, not amounts; repeatable.")
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        metavar=COLUMN,
        help="Left out, such as a label; repeatable. Of images FILE, an image: its pixels that are not black "
        "are left out of every image.",
    ),
]
Context = Annotated[
    list[str] | None,
    typer.Option(
        metavar=COLUMN,
        help="Of sequences: known beforehand and no part of a score, such as a set point; repeatable.",
    ),
]
CalendarOf = Annotated[
    bool | None,
    typer.Option("--calendar", help="Of sequences: the hour and the weekday are known beforehand, too."),
]
Segments = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar=COLUMN,
        help="Names the segment of a row, such as its machine: a model for each, in one file.",
    ),
]
Unseen = Annotated[
    Literal["pooled", "error"] | None,
    typer.Option(help="With --by: score rows of new segments by the model of all together, or refuse them."),
]
Decimal = Annotated[
    Literal[".", ","] | None, typer.Option(help="Decimal sign of numbers, where the cells do not decide.")
]
Thousands = Annotated[
    str | None,
    typer.Option(metavar="SIGN", help="What parts thousands, where the cells do not decide."),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(metavar="VALUE", help="Stands for a missing cell, such as ? or -999; repeatable."),
]
DayFirst = Annotated[
    bool | None,
    typer.Option("--dayfirst/--monthfirst", help="Whether 3/4/2026 is in April, where cells do not decide."),
]
DatesAs = Annotated[
    Literal["number", "parts", "drop"] | None,
    typer.Option("--dates", help="Use dates as a number, as hour, weekday and month, or not at all."),
]
Procedure = Annotated[
    Literal["auto", "split", "cross"] | None,
    typer.Option(
        "--calibration", help="How held-out rows make p-values: split is exact, cross suits few rows."
    ),
]
Keep = Annotated[
    int | None,
    typer.Option("--keep-rows", min=0, metavar="N", help="Normal rows kept with the model to test groups."),
]
Epochs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Passes over the rows at most.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of all randomness.")]
Checkpoint = Annotated[
    Path | None, typer.Option(readable=False, help="File kept up to date while fitting, to resume from.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps or auto.")]
Alpha = Annotated[float, typer.Option(help="The rate to keep, between 0 and 1.")]
OfModel = Annotated[
    float | None,
    typer.Option(
        "--alpha", help="The rate to keep, between 0 and 1; by default the model's own.", show_default=False
    ),
]
Control = Annotated[
    Literal["false_alarm", "fdr"],
    typer.Option(help="Whose rate: normal rows that are flagged, or flagged rows that are normal."),
]
By = Annotated[
    list[str],
    typer.Option(
        metavar="COLUMN",
        help="The column that names groups, repeatable; 'folder' for images in sub-folders; a file of labels "
        "for arrays.",
    ),
]
GroupControl = Annotated[
    Literal["fdr", "false_alarm"],
    typer.Option(help="Whose rate: flagged groups that are normal, or normal groups that are flagged."),
]
GroupStatistic = Annotated[
    OneStatistic,
    typer.Option(help="What is measured of a group; auto combines what fits the model."),
]
Tested = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", readable=False, help="File to write: a row for each group; - for standard output."
    ),
]
Shown = Annotated[
    int, typer.Option("--top", min=1, metavar="N", help="Of more groups show the most anomalous.")
]
Why = Annotated[
    bool, typer.Option("--why", help="Write a column of reasons: contributing columns, steps, regions.")
]
Counterfactual = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Write a column with the smallest change of at most N columns that makes a flagged row normal.",
    ),
]
Top = Annotated[int, typer.Option(min=1, metavar="N", help="How many of the most anomalous to show.")]
MapsIn = Annotated[
    Path | None,
    typer.Option(
        "--maps",
        metavar="DIR",
        readable=False,
        help="Write heat maps of the flagged and most anomalous images.",
    ),
]
AllMaps = Annotated[bool, typer.Option("--all-maps", help="Write heat maps of all images.")]
Replace = Annotated[
    bool, typer.Option("--replace-columns", help="Replace columns named like the added ones.")
]
FailOn = Annotated[bool, typer.Option("--fail-on-anomaly", help="Exit with 10 if anything was flagged.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the model file itself.")]
Folder = Annotated[Path, typer.Option("--out", readable=False, help="Folder to write into.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Wait = Annotated[
    float,
    typer.Option(
        min=0.0, metavar="SECONDS", help="Wait at most so long while another run writes the output."
    ),
]

Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Where the work is done: in this process, or by Ray on all CPUs or many machines."),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="With --engine ray: a cluster, auto for the one this machine is part of; none starts one here.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="With --engine ray: tasks at a time; by default one for each CPU."),
]
