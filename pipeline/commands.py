"""The commands of `posefix`, named: what each does, and where its code is.

Nothing heavy is imported before a command runs, so that `--help` is there at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts import App, Parameter
from cyclopts.help import DefaultFormatter

from .record import package_version
from .settings_file import fill_from_file
from .words import check_words

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel

HELP = "Monocular 3D human pose: a video in, a rendered video and 3D keypoint CSVs out."
EXAMPLES = """Examples:
  posefix clip.mp4                      results in clip_posefix/
  posefix a.mp4 "takes/*.mov" -o out    results in out/a_posefix/, ...
  posefix frames/ --height 1.82         a folder of images of a 1.82 m person
  posefix clip.mp4 --start 3 --end 8 --hypotheses 20 --no-render
  posefix 0 --max-frames 600            camera 0, until 600 frames or Ctrl-C
  posefix rtsp://host/stream            a network camera, until Ctrl-C

Exit codes:
  0 done                        4 device not there
  1 unexpected error            5 weights missing or damaged
  2 bad input or usage          6 no person found (files are written)
  3 cannot write the output     130 stopped by Ctrl-C (files are finished)"""
# What posefix is compared with; `posefix train NAME` for each. Listed here, so that help imports no network.
SYSTEMS = ("regressor", "stacked", "diffpose", "diffupose", "e533", "cce", "cce-cag")
USAGE = """Usage: posefix VIDEO... [OPTIONS]
       posefix refine FILE [OPTIONS]
       posefix webcam [SOURCE] [OPTIONS]
       posefix view FOLDER [OPTIONS]
       posefix plot CSV --joints NAMES [OPTIONS]
       posefix train lifter|refiner|cpn|SYSTEM [OPTIONS]
       posefix eval [OPTIONS]
       posefix data convert IN OUT [OPTIONS]
       posefix config
       posefix doctor [OPTIONS]
       posefix install-mmpose"""


class _Flowing(DefaultFormatter):
    """Help in which the line breaks of the source do not show: sentences end where the terminal's width ends them."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        for entry in panel.entries:
            text = getattr(entry.description, "primary_renderable", None)
            if text is not None and "\n" in text.plain:
                entry.description.primary_renderable = type(text)(" ".join(text.plain.split()))
        super().__call__(console, options, panel)


app = App(
    name="posefix",
    usage=USAGE,
    help=HELP,
    help_format="plaintext",
    help_formatter=_Flowing(),
    help_epilogue=EXAMPLES,
    version=lambda: f"posefix {package_version('posefix')}",
    suppress_keyboard_interrupt=False,  # else it ends without a word
    config=(check_words, fill_from_file),
)
# Lazy: named, not imported, so that the help of the main job does not wait for what trains.
app.command(
    "posefix.pipeline.refine_cli:refine",
    name="refine",
    help="Refine keypoints of OpenPose, AlphaPose, MMPose, MediaPipe, VideoPose3D, TRC or posefix.",
    help_epilogue="""Examples:
  posefix refine openpose_json/ --video clip.mp4
  posefix refine alphapose-results.json --fps 25 --person 2
  posefix refine landmarks.json --size 1920x1080
  posefix refine markers.trc""",
)
app.command(
    "posefix.pipeline.live.command:webcam",
    name="webcam",
    help="Watch a camera, stream or file with its skeletons as it happens, in a window or a browser.",
    help_epilogue="""Keys, or buttons of the page:
  r record    p pause    m mirror    f refine on/off
  [ ] or arrows turn the 3D view    h help    q, Esc quit

Examples:
  posefix webcam                        camera 0, in a window
  posefix webcam rtsp://host/stream
  posefix webcam clip.mp4 --mirror
  posefix webcam --serve                in a browser, at http://127.0.0.1:8765/
  posefix webcam --serve 0.0.0.0:8765   from other machines, with a token""",
)
app.command(
    "posefix.viewer.cli:view",
    name="view",
    help="Look at results in a browser: video, 3D skeleton and curves in one page.",
    help_epilogue="""Examples:
  posefix view clip_posefix/
  posefix view clip_posefix/ --video clip.mp4 --no-open""",
)
app.command(
    "posefix.viewer.cli:plot",
    name="plot",
    help="Draw joints over time: position, angle or speed, as PNG, SVG or PDF.",
    help_epilogue="""Examples:
  posefix plot clip_posefix/clip_3d.csv --joints RKnee,LKnee
  posefix plot clip_posefix/ --joints RKnee,LKnee --what angle -o knees.pdf""",
)
train = App(
    name="train",
    help="Train the networks from motion capture; reproduces the shipped weights.",
    help_format="plaintext",
    help_epilogue="""Examples:
  posefix train lifter --data DATA --run runs/lifter --export weights
  posefix train refiner --data DATA --all-runs --export weights""",
)
app.command(train)
train.command("posefix.training.cli:train_lifter", name="lifter", help="Train the 2D-to-3D lifter.")
train.command("posefix.training.cli:train_refiner", name="refiner", help="Train the diffusion refiner.")
train.command(
    "posefix.training.calibrate:train_calibration",
    name="calibration",
    help="Fit the uncertainty of weights that are there already.",
)
train.command("posefix.training.cpn_cli:train_cpn", name="cpn", help="Train CPN, a 2D detector.")
train.command(
    "posefix.training.cli:train_lifter", name="graformer", help="The lifter alone, as a system to compare."
)
train.command("posefix.training.cli:train_refiner", name="posefix", help="The same as refiner: what ships.")
for _name in SYSTEMS:
    _function = f"posefix.training.cli:train_{_name.replace('-', '_')}"
    train.command(_function, name=_name, help=f"Train the system {_name}, to compare.")
app.command(
    "posefix.training.evaluate:evaluate_cli",
    name="eval",
    help="Measure the networks by the open MOCAP17 protocol or a published one.",
    help_epilogue="""Examples:
  posefix eval --data mocap17_cmu.npz mocap17_hdm05.npz --json figures.json
  posefix eval --data mocap17_bandai.npz --cameras wild --input det
  posefix eval --dataset h36m --data h36m/ --input det""",
)
data = App(
    name="data",
    help="Prepare data for training and evaluation.",
    help_format="plaintext",
    help_epilogue="""Example:
  posefix data convert takes/ mocap17_takes.npz""",
)
app.command(data)
data.command(
    "posefix.training.datasets.cli:convert",
    name="convert",
    help="Turn published datasets and motion capture files into posefix's.",
    help_epilogue="""Examples:
  posefix data convert data_3d_h36m.npz h36m/data_3d_h36m.npz --trust-pickle
  posefix data convert cmu/ mocap17_mycmu.npz --split train""",
)

app.command(
    "posefix.pipeline.install_mmpose:install",
    name="install-mmpose",
    help="Install MMPose into this environment, for --detector mmpose, and try it with one inference.",
    help_epilogue="""What it does that pip does not:
  leaves out chumpy, which MMPose never imports, and torchvision, which it
    does not need here
  compiles xtcocotools for the numpy that is there, takes setuptools below 81
  takes mmcv-lite where the compiled mmcv has no wheel; numpy, OpenCV and
    PyTorch stay as they are

Examples:
  posefix install-mmpose --dry-run      shows the commands
  posefix install-mmpose""",
)
app.command(
    "posefix.pipeline.settings_file:show",
    name="config",
    help="Print every setting with its default as a TOML file, for --config.",
    help_epilogue="""Example:
  posefix config > posefix.toml
  posefix clip.mp4 --config posefix.toml""",
)
app.command(
    "posefix.pipeline.doctor:doctor",
    name="doctor",
    help="Look whether posefix can run here, and tell what is wrong and how to mend it.",
    default_parameter=Parameter(negative=""),
    help_epilogue="""Exit codes:
  0 posefix can run             1 it cannot""",
)
