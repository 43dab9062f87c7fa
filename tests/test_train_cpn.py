"""training/cpn.py: targets, losses, augmentation, and a run that resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_coco import coco_folder, dots, edit
from posefix.detectors.cpn.checkpoint import read_checkpoint
from posefix.detectors.cpn.network import CPN
from posefix.pipeline.cli import call
from posefix.skeleton import COCO17, Frame, Pose2D
from posefix.skeleton.errors import InputError
from posefix.training import cpn
from posefix.training.coco import Labelled, read_coco
from posefix.training.loop import TrainConfig

SIZE = (192, 256)
TINY = TrainConfig(
    samples=24, batch=4, lr=1e-2, warmup=2, clip=1e6, ema=0.5, validate_every=8, patience=99, bfloat16=False
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return coco_folder(tmp_path / "coco")


@pytest.mark.parametrize("flag", ["--batch", "--samples", "--lr"])
def test_0_is_not_the_default(folder, flag, capsys):
    assert call(["train", "cpn", "--coco", str(folder), flag, "0"]) == 2
    assert f"{flag} 0: expected " in capsys.readouterr().err


# Targets and losses


@pytest.mark.parametrize("cells", [7, 9, 11, 13, 15, 17, 23])
def test_targets_are_opencvs_blur_of_the_joints_cell(cells):
    joints = torch.tensor([[100.0, 131.9]]).expand(1, 17, 2)  # cell 25, 32
    seen = torch.arange(17)[None] > 0
    got = cpn.targets(joints, seen, SIZE, cells)
    impulse = np.zeros((64, 48))
    impulse[32, 25] = 1
    want = cv2.GaussianBlur(impulse, (cells, cells), 0)
    assert got.shape == (1, 17, 64, 48) and got[0, 0].abs().max() == 0
    np.testing.assert_allclose(got[0, 5], 255 * want / want.max(), atol=0.01)


class Fixed(torch.nn.Module):
    """Answers the maps that it is given."""

    size = SIZE

    def __init__(self, coarse, fine):
        super().__init__()
        self.answer = coarse, fine

    def forward(self, _):
        return self.answer


def test_the_loss_is_that_of_the_paper():
    g = torch.Generator().manual_seed(0)
    joints = torch.rand(2, 17, 2, generator=g) * torch.tensor(SIZE)
    seen = torch.full((2, 17), 2.0)
    seen[:, 3], seen[:, 4] = 1, 0
    coarse = [torch.rand(2, 17, 64, 48, generator=g) * 9 for _ in range(4)]
    fine = torch.rand(2, 17, 64, 48, generator=g) * torch.arange(17)[None, :, None, None]
    batch = {"picture": torch.zeros(2), "joints": joints, "seen": seen}
    got = cpn.cpn_loss(Fixed(coarse, fine), batch, (15, 11, 9, 7))
    want = 0.0
    for maps, cells in zip(coarse, (15, 11, 9, 7), strict=True):  # hidden joints are not GlobalNet's to find
        want += float((maps - cpn.targets(joints, seen > 1, SIZE, cells)).square().mean()) / 2
    each = (fine - cpn.targets(joints, seen > 0, SIZE, 7)).square().mean(dim=(2, 3))
    each[:, 4] = 0  # nobody knows
    for person in each:
        want += float(sum(sorted(person.tolist())[-8:])) / 8 / 2  # the eight hardest
    assert float(got) == pytest.approx(want, rel=1e-5)


def test_a_new_network_answers_about_as_high_as_its_targets():
    model = cpn.new_network("256x192").requires_grad_(False)
    target = cpn.targets(torch.tensor([[100.0, 130.0]]).expand(1, 17, 2), torch.ones(1, 17) > 0, SIZE, 7)
    head = model.refine_net.final_predict[2]
    assert float(head.weight.mean()) == pytest.approx(float(target.std()), rel=0.02)
    assert float(head.bias.mean()) == pytest.approx(float(target.mean()), rel=0.02)
    assert float(model.global_net.predict[0][5].weight.mean()) > 1.5 * float(head.weight.mean())


# Augmentation


@pytest.mark.parametrize("mirror", [False, True])
def test_pictures_and_joints_are_altered_alike(folder, mirror):
    people = read_coco(folder)[0]
    source = cpn.People(people, SIZE, cpn.CpnAugment((0.8, 1.2), 40, 1.0, float(mirror), 0.0))
    batch = source.draw(6, torch.Generator().manual_seed(3))
    again = source.draw(6, torch.Generator().manual_seed(3))
    assert all(torch.equal(batch[k], again[k]) for k in batch)
    assert batch["picture"].shape == (6, 3, 256, 192) and batch["seen"].shape == (6, 17)
    seen = batch["seen"].numpy()
    assert set(np.unique(seen)) == {0, 1, 2}
    order = COCO17.flip_order if mirror else list(range(17))
    assert (seen[:, order][:, 4] == 0).all() and (seen[:, order][:, 3] <= 1).all()
    pixels = batch["picture"].numpy() * 255 + cpn.normalise(np.zeros((1, 1, 1, 3), np.uint8)) * -255
    checked = 0
    for k, j in zip(*np.nonzero(seen), strict=True):
        x, y = np.floor(batch["joints"][k, j].numpy()).astype(int)
        level = 90 + 9 * order[j]  # of the disc that this joint is
        assert np.abs(pixels[k, :, y, x] - level).max() <= 2
        checked += 1
    assert checked > 60


def test_joints_that_leave_the_picture_are_not_seen(folder):
    person = read_coco(folder)[0][0]
    source = cpn.People([person], SIZE, cpn.CpnAugment((0.4, 0.4), 0, 0, 0, 0))
    batch = source.draw(1, torch.Generator().manual_seed(0))
    inside = ((batch["joints"] >= 0) & (batch["joints"] < torch.tensor(SIZE))).all(dim=2)
    assert 0 < int(inside.sum()) < 17 and not (batch["seen"][~inside] > 0).any()


# Measuring


def test_pck_is_by_the_torso():
    joints = np.zeros((2, 17, 2), np.float32)
    joints[:, cpn.HIP] = [60, 80]  # torso: 100 px
    seen = np.full((2, 17), 2.0, np.float32)
    seen[0, 0] = 0
    seen[1, cpn.SHOULDER] = 0  # no torso
    people = [Labelled(Path("x"), np.zeros(4, np.float32), j, s) for j, s in zip(joints, seen, strict=True)]
    found = joints.copy()
    found[:, 1, 0] += 21
    found[:, 2, 1] += 19
    errors = cpn.torso_errors(found, people)
    assert np.isnan(errors[1]).all() and np.isnan(errors[0, 0])
    assert errors[0, 1] == pytest.approx(0.21) and errors[0, 2] == pytest.approx(0.19)
    assert cpn.pck(errors) == pytest.approx(15 / 16) and cpn.pck(errors, 0.1) == pytest.approx(14 / 16)


def test_scores_are_calibrated_to_how_often_a_joint_is_right():
    g = np.random.default_rng(0)
    peaks = g.random((400, 17)).astype(np.float32)
    right = g.random(peaks.shape) < 1 / (1 + np.exp(-(-3 + 6 * peaks)))
    line = cpn.fit_calibration(peaks, np.where(right, 0.1, 0.5).astype(np.float32))
    assert line == pytest.approx((-3, 6), abs=0.3)
    assert (
        cpn.fit_calibration(peaks, np.full_like(peaks, 0.1)) is None
    )  # nothing wrong: nothing to learn from


# A run


class TinyCpn(torch.nn.Module):
    """With CPN's input, answers and normalisation, small enough for a test."""

    def __init__(self, shrink):
        super().__init__()
        self.size = (SIZE[0] // shrink, SIZE[1] // shrink)
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 17, 8, 4, padding=2), torch.nn.BatchNorm2d(17))

    def forward(self, pictures):
        maps = self.net(pictures)
        return [maps] * 4, maps


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(cpn, "new_network", lambda size, shrink: TinyCpn(shrink))


def test_a_stopped_run_resumes_to_the_same_weights(folder, tmp_path, tiny, monkeypatch):
    whole = cpn.train_cpn(folder, tmp_path / "whole", config=TINY)
    looks, find = [], cpn.find

    def interrupted(*args, **kwargs):
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return find(*args, **kwargs)

    monkeypatch.setattr(cpn, "find", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cpn.train_cpn(folder, tmp_path / "parts", config=TINY)
    assert not (tmp_path / "parts" / whole.name).exists()
    parts = cpn.train_cpn(folder, tmp_path / "parts", config=TINY)
    a, b = read_checkpoint(whole), read_checkpoint(parts)
    assert whole.name == "cpn_256x192.pth.tar" and a.size == "256x192"
    for name in a.state:
        torch.testing.assert_close(a.state[name], b.state[name], rtol=0, atol=0)
    assert a.state["net.1.running_var"].std() > 1e-3  # the averaged weights have statistics of their own
    log = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [row["samples"] for row in log] == [8, 16, 24] and all(0 <= row["pck"] <= 1 for row in log)
    with pytest.raises(InputError, match="holds a run with other settings"):
        cpn.train_cpn(folder, tmp_path / "parts", config=TINY, augment=cpn.CpnAugment(turn=1))
    with pytest.raises(InputError, match="holds a run with other settings"):
        cpn.train_cpn(folder, tmp_path / "parts", config=replace(TINY, lr=1e-3))


def test_a_run_ends_at_its_goal_and_goes_on_to_the_next(folder, tmp_path, tiny):
    def samples(goal):
        cpn.train_cpn(folder, tmp_path / "run", config=TINY, goal=goal)
        return json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["samples"]

    assert samples(0.0) == 8  # at the first look
    assert samples(0.0) == 8  # and no further when it is called again
    assert samples(1.1) == 24


def test_a_run_begins_with_what_smaller_pictures_taught(folder, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(cpn, "new_network", lambda size, shrink: made.append(TinyCpn(shrink)) or made[-1])
    monkeypatch.setattr(
        cpn, "load_trunk", lambda model, path: model.load_state_dict(read_checkpoint(path).state)
    )
    half = cpn.train_cpn(folder, tmp_path / "half", config=TINY, shrink=2)
    still = replace(TINY, lr=1e-12, ema=0.0)
    whole = cpn.train_cpn(folder, tmp_path / "whole", config=still, pretrained=half)
    assert [m.size for m in made] == [(96, 128), (192, 256)]
    weight = "net.0.weight"
    torch.testing.assert_close(read_checkpoint(whole).state[weight], read_checkpoint(half).state[weight])


def test_maps_of_larger_pictures_are_as_high_as_those_trained_on():
    """Of a network that has learnt: one peak of the same cells in a small and in a large map."""
    head = torch.nn.BatchNorm2d(17)
    small, large = torch.zeros(2, 1, 17, 64, 48)
    small, large = small[..., :32, :24].clone(), large.clone()
    for maps in (small, large):
        maps[..., 9:14, 9:14] = 1.0
    std, mean = small.std(unbiased=False), small.mean()
    torch.nn.init.constant_(head.weight, float(255 * std))
    torch.nn.init.constant_(head.bias, float(255 * mean))
    assert head(small).max().item() == pytest.approx(255, rel=1e-3)
    assert head(large).max().item() > 500
    cpn.fit_to_larger(torch.nn.Sequential(head), 2)
    assert head(large).max().item() == pytest.approx(255, rel=0.05)
    assert head(large).min().item() == pytest.approx(0, abs=3)


def test_a_small_network_is_for_small_pictures_and_its_blocks_begin_as_shortcuts():
    model = cpn.new_network("256x192", 2).eval().requires_grad_(False)
    assert model.size == (96, 128)
    coarse, fine = model(torch.zeros(1, 3, 128, 96))
    assert {m.shape for m in (*coarse, fine)} == {(1, 17, 32, 24)}
    x = torch.rand(1, 256, 4, 4)
    torch.testing.assert_close(model.resnet.layer1[1](x), x)


def test_nobody_with_a_torso_cannot_be_validated(folder, tmp_path, tiny):
    def change(content):
        for row in content["annotations"]:
            row["keypoints"][3 * cpn.HIP + 2] = 0

    edit(folder, change)
    with pytest.raises(InputError, match="nobody to validate on has left shoulder and right hip"):
        cpn.train_cpn(folder, tmp_path / "run", config=TINY)


def test_a_trunk_may_come_from_elsewhere(tmp_path):
    model = CPN().requires_grad_(False)
    trunk = {k: torch.full_like(v, 0.5) for k, v in model.resnet.state_dict().items()}
    torch.save(
        {**trunk, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "r50.pth"
    )
    head = model.refine_net.final_predict[1].weight.clone()
    cpn.load_trunk(model, tmp_path / "r50.pth")
    assert float(model.resnet.layer4[2].conv3.weight.mean()) == 0.5
    assert torch.equal(head, model.refine_net.final_predict[1].weight)
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(Exception, match=r"--pretrained .*other\.pth: not a ResNet-50"):
        cpn.load_trunk(model, tmp_path / "other.pth")


# The benchmark's labels


def test_labels_of_another_detector_come_back_from_the_folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import cpn_learns

    frame = Frame(0, 0.0, np.zeros((240, 200, 3), np.uint8))
    scores = np.full(17, 0.9, np.float32)
    scores[7] = 0.1
    pose = Pose2D(dots(3)[1], scores, "coco17", box=np.array([10, 10, 190, 230], np.float32))
    label = cpn_learns.as_label(pose, frame)
    assert label is not None and label[1].sum() == 16
    assert (
        cpn_learns.as_label(replace(pose, keypoints=pose.keypoints + 150), frame) is None
    )  # out of the frame
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), frame.image)
    person = {**cpn_learns.annotation(*label, 0.5, 4), "id": 0}
    for name in ("train", "val"):
        cpn_learns.write_annotations(tmp_path, name, [{"id": 4, "file_name": "a.png"}], [person])
    (read,), _ = read_coco(tmp_path)
    known = read.seen > 0
    np.testing.assert_allclose(read.joints[known], pose.keypoints[known] / 2, atol=0.01)
    np.testing.assert_allclose(read.box, pose.box / 2, atol=0.01)
    assert not known[7] and known.sum() == 16


def test_the_benchmark_goes_on_until_everybody_is_found_or_the_budget_is_spent(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import cpn_learns

    calls: list[tuple] = []

    def train(coco, run, size, config, augment, begin=None, device="cpu", shrink=1, goal=None):
        calls.append((run.name, shrink, goal, begin))
        run.mkdir(parents=True, exist_ok=True)
        done = config.samples if goal == 0.98 else 32
        (run / "log.jsonl").write_text(
            json.dumps({"samples": 16}) + "\n" + json.dumps({"samples": done}) + "\n"
        )
        (run / "machine.json").write_text('{"device": "cpu"}')
        return run / "weights"

    found = iter((0.85, 0.91, 0.8, 0.8, 0.8))
    monkeypatch.setattr(cpn_learns, "train_cpn", train)
    monkeypatch.setattr(
        cpn_learns,
        "measure",
        lambda *_: {"pck_0.2_torso": next(found), "pck_0.2_torso_by_joint": {}, "people": 9, "frames": 5},
    )
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "annotations" / "person_keypoints_train.json").touch()
    report = cpn_learns.cpn_learns(run=tmp_path, json=tmp_path / "report.json")
    half = tmp_path / "half" / "weights"
    assert calls == [("half", 2, 0.9, None), ("whole", 1, 0.92, half), ("whole", 1, 0.95, half)]
    written = json.loads((tmp_path / "report.json").read_text())
    assert report["pck_0.2_torso"] == written["pck_0.2_torso"] == 0.91
    assert written["training"]["whole"] == {"device": "cpu", "samples": 32}
    assert written["settings"]["half"]["lr"] == cpn_learns.HALF.lr
    calls.clear()
    assert cpn_learns.cpn_learns(run=tmp_path)["pck_0.2_torso"] == 0.8  # nothing left to train with
    assert [goal for _, _, goal, _ in calls] == [0.9, 0.92, 0.95, 0.98]
