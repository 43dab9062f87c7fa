"""A network of MMPose 1.x by its config or alias: built, filled, and what it wants and answers.

Configs are programs: MMPose runs them to read them, so a stranger's config deserves the same care as his code.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..skeleton import COCO17, H36M17, HALPE26
from ..skeleton.digest import sha256
from ..skeleton.errors import InputError
from ..skeleton.layouts import Layout
from ..skeleton.poses import FloatArray
from .checkpoints import fetch, fill, read_checkpoint
from .crops import Crop
from .decode import decode_heatmaps
from .mmpose_shims import import_mmpose

# Of a config's layouts the first all joints of which the network has.
_LAYOUTS = (HALPE26, COCO17, H36M17)
# Where joining the words of MMPose's name ("left_big_toe": LBigToe) does not give ours.
_NAMES = {"Root": "Hip", "RFoot": "RAnkle", "LFoot": "LAnkle", "NeckBase": "Neck"}


@dataclass(frozen=True, slots=True)
class Picture:
    """What a network wants of a person's box.

    Attributes:
        size: (w, h) px of its input.
        padding: the box is widened by this factor.
        unbiased: UDP's transform.
    """

    size: tuple[int, int]
    padding: float
    unbiased: bool

    def crop(self, box: FloatArray) -> Crop:
        """The part of the frame around a box (4,) x0, y0, x1, y1."""
        return Crop.around(box, self.size, self.padding, self.unbiased)


@dataclass(frozen=True, slots=True)
class Answers:
    """Of n pictures.

    Attributes:
        heatmaps: (n, J, h, w), None where the head gives none.
        places: (n, J, 2) cells of the heatmaps; without heatmaps, px of the network's picture.
        scores: (n, J) in 0..1.
    """

    heatmaps: FloatArray | None
    places: FloatArray
    scores: FloatArray


class PoseModel:
    """A top-down pose network.

    Attributes:
        layout: of the joints that are kept. picture: what it wants.
        weights: {file name: SHA-256}.
    """

    def __init__(self, name: str, weights: str | None, device: str) -> None:
        """Build and fill it.

        Args:
            name: a config file, or MMPose's name or alias of a model.
            weights: its checkpoint; None: from MMPose's hub, for names and aliases.

        Raises:
            InputError: no such config or alias, or no top-down pose network that posefix has a layout for.
            WeightsError: the weights are not there or do not fit.
        """
        config, url = find_config(name)
        network, settings = build_network(config, f"--pose-model {name}")
        if weights is None:
            if url is None:
                raise InputError(
                    f"--pose-model {name}: a config needs its checkpoint: add --pose-weights FILE"
                )
            weights = str(fetch(url, "--pose-weights"))
        where = f"--pose-weights {weights}"
        state, meta = read_checkpoint(weights, where)
        self.weights = {Path(weights).name: sha256(weights)}
        fill(network, upgraded(network, state), where, f"a checkpoint of --pose-model {name}")
        self._network: Any = network.to(device).eval()
        info = dataset_info(settings, meta, f"--pose-model {name}")
        self.layout, self._kept = match_layout(info["names"], f"--pose-model {name}")
        self.picture = read_picture(settings, f"--pose-model {name}")
        self._meta = {"flip_indices": info["flip"], "input_size": self.picture.size}
        self._test = dict(network.test_cfg)
        # SimCC's and regression heads draw theirs afterwards, for looking at.
        self._test["output_heatmaps"] = ".heatmap_heads." in type(network.head).__module__
        self._joints = self._try(f"--pose-model {name}")
        chosen = self._test.get("output_keypoint_indices") or range(self._joints)
        if len(chosen) != len(info["names"]):
            raise InputError(
                f"--pose-model {name}: the network answers {len(chosen)} joints, its data set has {len(info['names'])}"
            )
        self._kept = [chosen[k] for k in self._kept]

    def _try(self, where: str) -> int:
        """How many joints the head answers, found with an empty picture. Raises InputError where the network fails."""
        width, height = self.picture.size
        try:
            found, _ = self._answer(np.zeros((1, height, width, 3), np.uint8))
        except Exception as error:  # networks of strangers' configs can raise anything
            raise InputError(f"{where}: the network fails on a picture ({_reason(error)})") from error
        return int(_array(found[0].keypoints).shape[1])

    def __call__(self, pictures: np.ndarray) -> Answers:
        """(n, h, w, 3) BGR bytes -> answers; the picture's mirror image is asked too where the config says so."""
        found, fields = self._answer(pictures)
        # By the head also where places come from heatmaps: not every codec's peaks are 0..1.
        scores = np.stack([_array(f.keypoint_scores)[0][self._kept] for f in found])  # (n, J)
        scores = np.nan_to_num(scores).clip(0, 1)
        # UDP's offsets come as three maps a joint: these the head must read.
        if fields and len(fields[0].heatmaps) == self._joints:
            maps = np.stack([_array(f.heatmaps)[self._kept] for f in fields])  # (n, J, h, w)
            return Answers(maps, decode_heatmaps(maps)[0], scores)
        return Answers(None, np.stack([_array(f.keypoints)[0, self._kept, :2] for f in found]), scores)

    @torch.inference_mode()
    def _answer(self, pictures: np.ndarray) -> tuple[list[Any], list[Any]]:
        """What the head says of each picture: keypoints and scores; and its heatmaps, or nothing."""
        sample = importlib.import_module("mmpose.structures").PoseDataSample
        images = [torch.from_numpy(p.transpose(2, 0, 1).copy()) for p in pictures]  # (h, w, 3) -> (3, h, w)
        samples = [sample(metainfo=self._meta) for _ in images]
        batch = self._network.data_preprocessor({"inputs": images, "data_samples": samples}, training=False)
        inputs: Tensor = batch["inputs"]  # (n, 3, h, w)
        features = self._network.extract_feat(inputs)
        if self._test.get("flip_test", False):
            features = [features, self._network.extract_feat(inputs.flip(-1))]
        answer = self._network.head.predict(features, samples, test_cfg=self._test)
        return answer if isinstance(answer, tuple) else (answer, [])

    def close(self) -> None:
        """Free the network."""
        self._network = None


def _array(values: Any) -> FloatArray:
    if isinstance(values, Tensor):
        values = values.float().cpu().numpy()
    return np.asarray(values, np.float32)


def find_config(name: str, package: str = "mmpose", flag: str = "--pose-model") -> tuple[Path, str | None]:
    """A config's path, and where its weights are on the hub: of a file, or of a model that the package lists.

    Raises:
        InputError: neither a file nor a name.
    """
    path = Path(name)
    if path.suffix == ".py" or path.is_file():
        if not path.is_file():
            raise InputError(
                f"{flag} {name}: no such file; expected a config of {package} 1.x or a model's name"
            )
        return path, None
    root = Path(str(importlib.import_module(package).__file__)).parent / ".mim"
    for model in _listed(root):
        aliases = model.get("Alias") or []
        if name in {model["Name"], *([aliases] if isinstance(aliases, str) else aliases)}:
            return root / model["Config"], model.get("Weights")
    raise InputError(
        f"{flag} {name}: neither a config file (.py) nor a model that {package} lists; "
        f"aliases are human, body26, wholebody, rtmpose-l, vitpose-s and the names in its model zoo"
    )


def _listed(root: Path) -> list[dict[str, Any]]:
    """All models of a package's index, in its order."""
    yaml = importlib.import_module("yaml")
    index = root / "model-index.yml"  # not in every installation from source
    names = yaml.safe_load(index.read_text(encoding="utf-8"))["Import"] if index.is_file() else []
    files = [root / name for name in names]
    pages = [yaml.safe_load(f.read_text(encoding="utf-8")) for f in files if f.is_file()]
    return [m for page in pages if isinstance(page, dict) for m in page.get("Models", []) if "Config" in m]


def build_network(config: str | Path, where: str = "--pose-model") -> tuple[Any, Any]:
    """The network of a config, as MMPose's `init_model` makes it but without weights, and the config.

    Raises:
        InputError: the config cannot be read, or says something other than a top-down pose network.
    """
    import_mmpose()
    mmengine = importlib.import_module("mmengine")
    try:
        settings = mmengine.Config.fromfile(config)
        settings.model.setdefault("test_cfg", {})
        settings.model.train_cfg = None
        settings.model.backbone.init_cfg = None  # it would fetch weights to begin a training with
        importlib.import_module("mmengine.registry").init_default_scope("mmpose")
        network = importlib.import_module("mmpose.registry").MODELS.build(settings.model)
        network = importlib.import_module("mmengine.model").revert_sync_batchnorm(network)
    except Exception as error:  # a config is a program: it can raise anything
        raise InputError(f"{where}: MMPose cannot build it ({_reason(error)})") from error
    kind = type(network).__name__
    if kind != "TopdownPoseEstimator" or not network.with_head:
        raise InputError(
            f"{where}: it is a {kind}; posefix takes top-down pose networks (TopdownPoseEstimator)"
        )
    return network, settings


def upgraded(network: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the names that MMPose 1.x has, also those of MMPose 0.x, which much of its hub still is.

    MMPose renames them itself when weights are loaded; `fill` compares names before that.
    """
    names = dict(state)
    for module, prefix in ((network, ""), (network.head, "head.")):
        if (rename := getattr(module, "_load_state_dict_pre_hook", None)) is not None:
            rename(names, prefix, {})
    return names


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    commands = {"mmpretrain": "pip install mmpretrain torchvision", "mmdet": "posefix install-mmpose --mmdet"}
    for package, command in commands.items():
        if f"{package}." in text and "registry" in text:
            return f"it needs the package {package}; install it: {command}"
    return f"{type(error).__name__}: {text[:200]}"


def read_picture(settings: Any, where: str) -> Picture:
    """What the test pipeline of a config does with boxes. Raises InputError where it does not say."""
    steps: list[Mapping[str, Any]] = []
    for part in ("test_dataloader", "val_dataloader"):
        dataset = settings.get(part, {}).get("dataset", {})
        steps = steps or list(dataset.get("pipeline", []))
    steps = steps or list(settings.get("val_pipeline", settings.get("test_pipeline", [])))
    affine = next((s for s in steps if str(s["type"]).endswith("TopdownAffine")), None)
    if affine is None:
        raise InputError(
            f"{where}: its test pipeline has no TopdownAffine, which tells the size of the input"
        )
    box = next((s for s in steps if str(s["type"]).endswith("GetBBoxCenterScale")), {})
    width, height = affine["input_size"]
    return Picture(
        (int(width), int(height)), float(box.get("padding", 1.25)), bool(affine.get("use_udp", False))
    )


def dataset_info(settings: Any, meta: Mapping[str, Any], where: str) -> dict[str, list[Any]]:
    """Names and mirror partners of the joints: by the checkpoint's `dataset_meta`, else by the config's data set.

    Raises:
        InputError: neither tells.
    """
    told = meta.get("dataset_meta")
    if not isinstance(told, Mapping) or "keypoint_id2name" not in told:
        utils = importlib.import_module("mmpose.datasets.datasets.utils")
        try:
            told = utils.parse_pose_metainfo(_dataset(settings))
        except Exception as error:  # of a config, or of a file that it names
            raise InputError(f"{where}: its data set does not tell the joints ({_reason(error)})") from error
    names = [str(told["keypoint_id2name"][k]) for k in range(int(told["num_keypoints"]))]
    return {"names": names, "flip": [int(k) for k in told["flip_indices"]]}


def _dataset(settings: Any) -> Any:
    """`metainfo` of the first data set that a config names."""
    registry = importlib.import_module("mmpose.registry").DATASETS
    for part in ("test_dataloader", "val_dataloader", "train_dataloader"):
        dataset = settings.get(part, {}).get("dataset", {})
        if "metainfo" in dataset:
            return dataset["metainfo"]
        if "type" in dataset and (kind := registry.get(dataset["type"])) is not None:
            return kind.METAINFO
    raise InputError("no data set")


def match_layout(names: Sequence[str], where: str) -> tuple[Layout, list[int]]:
    """MMPose's joint names -> the layout, and where each of its joints is among the names.

    Raises:
        InputError: posefix has no layout of these joints.
    """
    ours = [our_name(name) for name in names]
    for layout in _LAYOUTS:
        if set(layout.joints) <= set(ours):
            return layout, [ours.index(joint) for joint in layout.joints]
    raise InputError(
        f"{where}: it answers {len(names)} joints ({', '.join(names[:5])}, ...); posefix has layouts for "
        f"{', '.join(layout.name for layout in _LAYOUTS)}"
    )


def our_name(name: str) -> str:
    """ "left_big_toe" -> "LBigToe"."""
    side = {"left": "L", "right": "R"}
    words = name.split("_")
    joined = side.get(words[0], words[0].capitalize()) + "".join(word.capitalize() for word in words[1:])
    return _NAMES.get(joined, joined)
