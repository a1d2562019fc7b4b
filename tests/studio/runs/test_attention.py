"""Training computes attention as the program was started to."""

import pytest

from app.cli import main
from core.errors import StudioError
from core.events import RunFinished, StepDone
from core.families.attention import VARIABLE, in_place
from core.studio.runs import training
from core.studio.runs.run import create_run
from tests.builders.runs import config


def test_the_chosen_attention_is_in_place_in_every_step(workspace, monkeypatch):
    loaded, current = [], []
    load = training.load_base
    monkeypatch.setattr(
        training, "load_base", lambda *args, **options: loaded.append(load(*args, **options)) or loaded[-1]
    )
    monkeypatch.setenv(VARIABLE, "plain")
    run = create_run(workspace, config(steps=2))
    for event in training.train_run(run, cpu=True, stop=lambda: None):
        if isinstance(event, StepDone):
            current.append(in_place(loaded[0].unet))
    assert isinstance(event, RunFinished) and current == ["plain", "plain"]


def test_a_missing_one_is_refused_before_anything_is_loaded(workspace, monkeypatch, capsys):
    monkeypatch.setattr("core.families.attention.find_spec", lambda name: None)
    monkeypatch.setenv(VARIABLE, "xformers")
    with pytest.raises(StudioError, match="by xformers is not available here: not installed.*choose sdpa"):
        list(training.train_run(create_run(workspace, config(steps=2)), cpu=True, stop=lambda: None))
    monkeypatch.setenv(VARIABLE, "auto")
    space = ["--workspace", str(workspace.root)]
    for arguments in (["train"], ["compare", "x"], ["resume", "y"], ["doctor", "--quick"], []):
        assert main([*arguments, "--attention", "xformers", *space]) == 1
        assert "by xformers is not available here: not installed" in capsys.readouterr().err
    assert main(["compare", "x", "--attention", "fast", *space]) == 1
    assert "Choose auto, sdpa, xformers, plain" in capsys.readouterr().err


def test_doctor_reports_the_choice(workspace, monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, "auto")
    assert main(["doctor", "--quick", "--attention", "plain", "--workspace", str(workspace.root)]) == 0
    assert '"chosen": "plain"' in capsys.readouterr().out
