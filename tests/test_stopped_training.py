"""Training that is stopped goes on where it was, and only on what it was begun with."""

from __future__ import annotations

import json
import shutil
import signal

import numpy as np
import pytest
import torch
from posefix.lifter.graformer import GraFormer
from posefix.skeleton.errors import InputError
from posefix.training.augment import AugmentConfig
from posefix.training.loop import TrainConfig
from posefix.training.mocap import SCALE, Sequence, write_mocap
from posefix.training.pool import TRAIN_FILES
from posefix.training.train_lifter import train_lifter
from posefix.training.train_refiner import train_refiner
from test_training import toy_trainer
from torch import nn


def test_ctrl_c_keeps_every_step_so_far(tmp_path, monkeypatch) -> None:
    """Between two validations; what is resumed ends as an unbroken run does."""
    whole = toy_trainer(tmp_path / "whole", 960).run(report=lambda row: None)
    trainer = toy_trainer(tmp_path / "parts", 960)
    step = trainer._step

    def interrupted() -> float:
        loss = step()
        if trainer.step == 13:
            signal.raise_signal(signal.SIGINT)
        return loss

    monkeypatch.setattr(trainer, "_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(report=lambda row: None)
    assert signal.getsignal(signal.SIGINT) is before
    again = toy_trainer(tmp_path / "parts", 960)
    parts = again.run(report=lambda row: None)
    assert torch.equal(whole.weight, parts.weight)
    rows = [
        [json.loads(line)["samples"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert rows[0] == rows[1] and 13 * 16 not in rows[0]


def test_a_folder_with_another_networks_run_or_a_damaged_one_is_one_line(tmp_path) -> None:
    toy_trainer(tmp_path, 320).run(report=lambda row: None)
    other = toy_trainer(tmp_path, 320)
    other.model = nn.Linear(2, 2)
    with pytest.raises(InputError, match="holds another network's run"):
        other.run(report=lambda row: None)
    whole = (tmp_path / "last.pt").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"nothing of the kind"):
        (tmp_path / "last.pt").write_bytes(damaged)
        with pytest.raises(InputError, match=r"last\.pt: damaged, or no checkpoint; remove it to begin anew"):
            toy_trainer(tmp_path, 320).run(report=lambda row: None)


@pytest.fixture
def mocap(tmp_path):
    """A folder with the files that the lifter is trained on, a second of two people each."""
    rng = np.random.default_rng(0)
    for name in TRAIN_FILES:
        sequences = []
        for split in ("train", "val"):
            pose = rng.integers(-4000, 4000, (30, 17, 3)).astype(np.int16)
            pose[:, 0] = 0
            root, label = np.tile(np.array([0, 0, 1], np.float32), (30, 1)), f"{name}_{split}"
            sequences.append(Sequence(label, label, "", "", name, split, 30.0, pose, root, SCALE))
        write_mocap(tmp_path / f"{name}.npz", sequences)
    return tmp_path


def test_a_lifters_folder_tells_what_it_was_trained_on_and_takes_nothing_else(mocap) -> None:
    run, quick = mocap / "run", TrainConfig(samples=32, batch=16, warmup=1, validate_every=16, bfloat16=False)
    train_lifter(mocap, run, quick, leave_out_fold=0)
    told = json.loads((run / "lifter.json").read_text())
    assert told["left_out"] == 0 and told["frames"] == 4 * 30 and told["augment"]["mirror"] == 0.5
    train_lifter(mocap, run, quick, leave_out_fold=0)  # done already
    with pytest.raises(InputError, match=r"other settings \(lifter.json: .*left_out"):
        train_lifter(mocap, run, quick, leave_out_fold=1)
    (mocap / "more").mkdir()
    shutil.copy(mocap / "mocap17_cmu.npz", mocap / "more" / "mine.npz")
    with pytest.raises(InputError, match=r"other settings \(lifter.json: frames, sequences\)"):
        train_lifter(mocap, run, quick, leave_out_fold=0)
    (run / "lifter.json").rename(run / "lifter.json.not")  # begun before there was one
    train_lifter(mocap, run, quick, leave_out_fold=0)
    assert not (run / "lifter.json").exists()
    # A published data set's run has the same budget and network; only its rows.json tells.
    (run / "rows.json").write_text('{"dataset": "h36m", "input": "det"}')
    with pytest.raises(InputError, match=r"a run of something else \(rows.json\)"):
        train_lifter(mocap, run, quick, leave_out_fold=0)


def test_a_folder_begun_before_there_was_a_setting_had_its_default(mocap) -> None:
    run, quick = mocap / "run", TrainConfig(samples=32, batch=16, warmup=1, validate_every=16, bfloat16=False)
    train_lifter(mocap, run, quick)
    told = json.loads((run / "lifter.json").read_text())
    assert told["augment"].pop("far_body") == 0
    (run / "lifter.json").write_text(json.dumps(told))
    train_lifter(mocap, run, quick)
    with pytest.raises(InputError, match=r"other settings \(lifter.json: augment\)"):
        train_lifter(mocap, run, quick, AugmentConfig(far_body=0.5))
    told["augment"]["mirror"] = 0.25
    (run / "lifter.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"other settings \(lifter.json: augment\)"):
        train_lifter(mocap, run, quick)


def test_a_budget_below_one_step_is_refused() -> None:
    with pytest.raises(InputError, match="--samples 100: expected at least a batch, 128"):
        TrainConfig(samples=100, batch=128)
    assert TrainConfig(samples=128, batch=128).steps == 1


def test_a_refiners_folder_takes_no_other_settings(tmp_path) -> None:
    """Before anything is drawn or lifted."""
    (tmp_path / "refiner.json").write_text('{"predict": "pose"}')
    with pytest.raises(InputError, match=r"other settings \(refiner.json: .*predict"):
        train_refiner(tmp_path, tmp_path, GraFormer(), [])
