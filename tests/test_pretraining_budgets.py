"""How long a language model is trained, what that takes, and what is written meanwhile."""

import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import CASES, SHORT, begun, bytes_of, options_of, training
from typer.testing import CliRunner

from dnabench import MODELS
from dnabench.cli.app import app
from dnabench.cli.pretrain_said import Speed
from dnabench.host.machine import bf16_flags
from dnabench.models.language import language_model
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.planning import Budget, Cost, bought, budget_named, measured
from dnabench.pretraining.pretrain import learner_of, pretrain
from dnabench.pretraining.recompute import recompute
from dnabench.pretraining.saving import load_pretrained
from dnabench.pretraining.windows import draw
from dnabench.types import Recipe

__all__ = ["own_cache"]


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("20M", 2e7, "bp"), ("1.5Gbp", 1.5e9, "bp"), ("300000", 3e5, "bp"), ("2.5h", 2.5, "h"),
     ("10k steps", 1e4, "steps"), ("1step", 1, "steps"), ("1e18 FLOP", 1e18, "FLOP"),
     ("3PFLOP", 3e15, "FLOP")],
)  # fmt: skip
def test_budgets_are_read(text, amount, unit):
    assert budget_named(text) == Budget(pytest.approx(amount), unit)


@pytest.mark.parametrize("text", ["", "0", "-5M", "20m", "2 days", "1..5M", "h", "1e99 FLOP"])
def test_other_budgets_are_refused(text):
    with pytest.raises(ValueError, match="write the bp to see as 20M"):
        budget_named(text)


SLOW = Cost(step=900.0, evaluation=150.0, peak=0, params=0)


def never():
    raise AssertionError("measured")


def test_a_budget_buys_steps(tmp_path):
    train = training(tmp_path)
    for text, steps in (("2400", 10), ("2401bp", 11), ("7steps", 7)):
        assert bought(budget_named(text), train, tmp_path, never).steps == steps
    cost = Cost(step=0.5, evaluation=6.0, peak=0, params=0)
    # an hour of 3,600 s less two evaluations of 6 s
    assert bought(Budget(1, "h"), train, tmp_path / "net", lambda: cost).steps == 3588 * 2


def test_operations_are_those_of_the_products(tmp_path):
    train = training(tmp_path, "dnabert-3")
    t, d, inner, v = 60, 16, 16, 69  # 58 3-mers, [CLS], [SEP]
    each = 2 * t * (4 * d * d + 2 * d * inner + d * d + d * v) + 2 * 2 * t * t * d
    steps = bought(Budget(3e9, "FLOP"), train, tmp_path, never).steps
    assert steps == round(3e9 / (3 * each * 4))


def test_hours_are_measured_once(tmp_path):
    """What goes on has the steps that it began with, and is refused other hours."""
    train = bought(Budget(1, "h"), training(tmp_path), tmp_path / "net", lambda: SLOW)
    begun(tmp_path, steps=train.steps, budget=train.budget)
    for text in ("1h", "1.0 h"):
        again = bought(budget_named(text), training(tmp_path), tmp_path / "net", never)
        assert again.steps == train.steps == 3
    with pytest.raises(ValueError, match="unfinished training with --budget '1 h', not '5 h'"):
        bought(budget_named("5h"), training(tmp_path), tmp_path / "net", never)
    pretrain(again, tmp_path / "net")


def test_hours_without_time_for_a_step_are_refused(tmp_path):
    train = training(tmp_path)  # two evaluations
    for text in ("0.1h", "0.25h"):
        with pytest.raises(ValueError, match="2 evaluations take 300 s and a step 900 s"):
            bought(budget_named(text), train, tmp_path / "net", lambda: SLOW)
    assert bought(budget_named("0.34h"), train, tmp_path / "net", lambda: SLOW).steps == 1


def small_command(tmp_path, *more):
    path = fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    return [
        "pretrain", "convnova-386k", "--set", "width=8", "--set", "blocks=2", "--set", "batch=4",
        "--length", "60", "--holdout", "chr2", "--genome", str(path), "--to", str(tmp_path / "net"),
        "--device", "cpu", *more,
    ]  # fmt: skip


def test_a_plan_measures_and_writes_nothing(tmp_path):
    words = small_command(tmp_path, "--plan")
    done = CliRunner().invoke(app, [*words, "--budget", "24k"])
    assert done.exit_code == 0, done.output
    assert "would take" in done.output and "100 steps of" in done.output and "bp/s" in done.output
    assert not (tmp_path / "net").exists()
    done = CliRunner().invoke(app, [*words, "--budget", "soon"])
    assert done.exit_code == 2 and "--budget 'soon'" in done.output


@pytest.mark.parametrize("more", [["--plan"], [], ["--executor", "slurm"]])
def test_a_warm_up_that_outlasts_the_training_is_refused(tmp_path, slurm, more):
    """The recipe of GPN has 1,000 steps of it, and 20 Mbp are 20 steps of its batch."""
    words = [*small_command(tmp_path), "--recipe", "gpn", *more]
    for budget, steps in (("4800", 20), ("1000 steps", 1000)):
        done = CliRunner().invoke(app, [*words, "--budget", budget])
        said = " ".join(done.output.split())
        assert done.exit_code == 2, said
        assert f"warmup=1000 is a number of steps, and the budget is {steps:,} steps" in said
        assert "never reach lr=0.001" in said
        assert "--set warmup=0.02, a share of the steps, or --budget 240240 or more" in said
    assert "would end at 0.000999 " in said and not slurm.exists()
    assert not (tmp_path / "net").exists()


def test_the_plan_says_what_the_learning_rate_does(tmp_path):
    words = [*small_command(tmp_path), "--recipe", "gpn", "--plan", "--budget"]
    done = CliRunner().invoke(app, [*words, "240240"])
    assert "1,001 steps of 4 windows" in done.output, done.output
    assert "learning rate 0.001 after 1,000 steps of warm-up, then constant" in done.output
    done = CliRunner().invoke(app, [*words, "100 steps", "--set", "warmup=0.1"])
    assert "learning rate 0.001 after 10 steps of warm-up, then constant" in done.output


def test_a_warm_up_that_outlasts_the_training_is_refused_in_python(tmp_path):
    how = replace(SHORT, recipe=replace(SHORT.recipe, warmup=6.0))
    with pytest.raises(ValueError, match="the budget is 6 steps of 240 bp"):
        pretrain(training(tmp_path, how=how, steps=6), tmp_path / "net")
    pretrain(training(tmp_path, how=how, steps=7), tmp_path / "net")


def test_plan_says_who_plans_a_pretraining():
    done = CliRunner().invoke(app, ["plan", "--pretrain", "convnova", "--genome", "g.fa"])
    assert done.exit_code == 2
    assert "plan has no --pretrain: write dnabench pretrain MODEL ... --plan" in done.output


def test_the_bar_says_how_fast_it_is(tmp_path, monkeypatch):
    times = iter([100.0, 100.0, 102.0, 104.0])
    speed = Speed(512, lambda: next(times))
    # resumed after 40 steps: those were not done here
    assert [speed.said(done) for done in (41, 41, 45, 45)] == ["", "", ", 1,024 bp/s", ", 512 bp/s"]
    shown = []
    monkeypatch.setattr(
        "rich.progress.Progress.update", lambda *_, **said: shown.append(said.get("description"))
    )
    done = CliRunner().invoke(app, small_command(tmp_path, "--budget", "9 steps"))
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"held out [\d.]+ nats, [\d.]+%, [\d,]+ bp/s", shown[-1])


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of sh in the place of Slurm's, and the file that says what was submitted."""
    (tmp_path / "bin").mkdir()
    submitted = tmp_path / "submitted"
    texts = {"squeue": "", "scontrol": "", "sbatch": f"cat >> {submitted}\necho 7"}
    for name, text in texts.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return submitted


def submitting(tmp_path, **changes):
    path = fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    (tmp_path / "g.gff3").write_text("chr9\tx\tCDS\t1\t90\t.\t+\t0\tID=a;Parent=b\n")
    flags = {
        "--genome": path, "--to": tmp_path / "net", "--holdout": "chr2", "--length": 60,
        "--budget": "24k", "--device": "cpu", "--executor": "slurm", **changes,
    }  # fmt: skip
    words = [str(word) for flag in flags.items() for word in flag]
    small = ["--set", "width=8", "--set", "blocks=2", "--set", "batch=4"]
    return ["pretrain", "convnova-386k", *small, *words]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--genome": "nothere.fa"}, "nothere.fa: no such file"),
        ({"--holdout": "chrX"}, "has no sequence 'chrX'"),
        ({"--regions": "nothere.gff3:exons=9"}, "nothere.gff3"),
        ({"--regions": "g.gff3:exons=9"}, "has no gene on a sequence of g.fa"),
        ({"--exclude-task": "nt/nothere"}, "nt/nothere"),
        ({"--most-n": 1}, "--most-n 1"),
        ({"--to": "old"}, "old has a network already"),
        ({"--executor": "lsf"}, "--executor 'lsf'"),
    ],
)  # fmt: skip
def test_a_job_that_cannot_train_is_not_submitted(tmp_path, slurm, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "network.json").write_text("{}")
    done = CliRunner().invoke(app, submitting(tmp_path, **changes))
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output
    assert not slurm.exists() and not (tmp_path / "net").exists()
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["network.json"]


@pytest.mark.parametrize(
    ("given", "instead", "n"),
    [("gres=gpu:4", "gres=gpu:1", 4), ("gres=gpu:a100:2", "gres=gpu:a100:1", 2),
     ("gpus-per-node=8", "gpus-per-node=1", 8), ("ntasks=2", "ntasks=1", 2),
     ("gres=gpu:1,gpus=h100:12", "gpus=h100:1", 12)],
)  # fmt: skip
def test_a_job_asks_for_no_gpu_that_would_idle(tmp_path, slurm, given, instead, n):
    done = CliRunner().invoke(app, submitting(tmp_path, **{"--set-resource": given}))
    said = " ".join(done.output.split())
    assert done.exit_code == 2 and f"--set-resource {given.split(',')[-1]}: the job is one" in said
    assert f"write {instead}, or start torchrun --nproc-per-node {n} -m dnabench pretrain" in said
    assert not slurm.exists() and not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    "given", ["gres=gpu", "gres=gpu:a100", "gres=gpu:a100:1", "gres=lscratch:100", "nodes=1"]
)
def test_a_job_may_ask_for_one_gpu_and_for_other_things(tmp_path, slurm, given):
    done = CliRunner().invoke(app, submitting(tmp_path, **{"--set-resource": given}))
    assert done.exit_code == 0 and "submitted as Slurm job 7" in done.output, done.output


def test_processes_of_torchrun_submit_no_job(tmp_path, slurm, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    done = CliRunner().invoke(app, submitting(tmp_path))
    said = " ".join(done.output.split())
    assert done.exit_code == 2 and "each of its 4 processes would submit the job" in said
    assert "leave out torchrun, or --executor slurm" in said and not slurm.exists()


def test_a_plan_submits_nothing(tmp_path, slurm):
    words = submitting(tmp_path)
    done = CliRunner().invoke(app, [*words, "--plan"])
    assert done.exit_code == 0 and "would take" in done.output, done.output
    assert not slurm.exists() and not (tmp_path / "net").exists()
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "submitted as Slurm job 7" in done.output, done.output
    assert "--executor local" in slurm.read_text()


def test_what_is_measured_is_what_a_training_takes(tmp_path):
    """On a busy machine too, within wide bounds."""
    how = replace(SHORT, recipe=replace(SHORT.recipe, batch=16))
    train = training(tmp_path, how=how, steps=60, looks=2)
    cost = measured(train, seconds=0.5)
    done = pretrain(train, tmp_path / "net")
    assert 0.2 < cost.seconds(60, 2) / done["seconds"] < 5
    assert cost.peak > 50e6 and cost.params == done["n_params"]


def gradients(train):
    learner = learner_of(train)
    loss = [learner.train_epoch() for _ in range(2)]
    return loss, learner.net.state_dict()


@pytest.mark.parametrize("name", CASES)
def test_layers_that_run_again_change_no_bit(tmp_path, name):
    """Dropout included, which is drawn again as before."""
    train = training(tmp_path, name, steps=2, looks=2)
    (a, one), (b, two) = gradients(train), gradients(replace(train, recompute=True))
    assert a == b and one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def held(net, ids):
    """Bytes of tensors that the backward pass waits for."""
    seen = {}

    def keep(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(ids, None)
    return sum(seen.values())


@pytest.mark.parametrize("name", ["dnabert-3", "gpn-smol", "hyenadna-tiny-1k", "caduceus_ph"])
def test_layers_that_run_again_take_less_memory(name):
    options = options_of(name, **CASES[name])
    layers = {"layers": 6}
    sizes = []
    for again in (False, True):
        net = language_model(MODELS[name], {**options, **layers}, 120).train()
        if again:
            assert recompute(net.backbone, name) >= 6
        weights = sum(p.numel() * 4 for p in net.parameters())
        sizes.append(held(net, torch.randint(4, (16, 120))) - weights)
    assert sizes[1] < 0.5 * sizes[0]


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="--recompute: a has no list of layers"):
        recompute(torch.nn.Linear(2, 2), "a")


def test_genomes_are_drawn_as_often_as_their_weights_say(tmp_path):
    sizes = {"a": 9000, "b": 1000}
    paths = [fasta(tmp_path / name / "g.fa", {"x": "ACGT"[i] * n}) for i, (name, n) in
             enumerate(sizes.items())]  # fmt: skip
    model, options = MODELS["convnova-386k"], options_of("convnova-386k", **CASES["convnova-386k"])

    def share_of_first(**more):
        train = gathered(model, options, SHORT, paths, 1e4, **more)
        codes, _ = draw(train.sources, 4000, np.random.default_rng(0))
        return (codes[:, 0] == 0).mean()

    assert share_of_first() == pytest.approx(8941 / (8941 + 941), abs=0.02)
    assert share_of_first(weights=[1, 3]) == pytest.approx(0.25, abs=0.03)
    with pytest.raises(ValueError, match="1 --weight for 2 --genome"):
        share_of_first(weights=[1])
    with pytest.raises(ValueError, match="--weight -2: write a number above 0"):
        share_of_first(weights=[1, -2])


def test_tensorboard_reads_the_curve(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    path = fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    begun(tmp_path, looks=3)
    settings = {"width": 8, "blocks": 2, "kernel_size": 3, "batch": 4, "warmup": Recipe().warmup}
    words = [word for pair in settings.items() for word in ("--set", f"{pair[0]}={pair[1]}")]
    done = CliRunner().invoke(app, [
        "pretrain", "convnova-386k", *words, "--length", "60", "--holdout", "chr2", "--genome",
        str(path), "--to", str(tmp_path / "net"), "--device", "cpu", "--budget", "6 steps",
        "--looks", "3", "--tensorboard",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    read = accumulator.EventAccumulator(str(tmp_path / "net" / "tensorboard"))
    read.Reload()
    rows = [json.loads(x) for x in (tmp_path / "net" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    for name in ("loss", "held_out_loss", "held_out_accuracy"):
        events = read.Scalars(name)
        assert [e.step for e in events] == [row["step"] for row in rows]
        assert [e.value for e in events] == pytest.approx([row[name] for row in rows])


def test_a_recomputed_training_is_the_same_file(tmp_path):
    train = training(tmp_path)
    pretrain(train, tmp_path / "a")
    pretrain(replace(train, recompute=True), tmp_path / "b")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


@pytest.mark.skipif(not bf16_flags(), reason="this processor has no bfloat16")
@pytest.mark.parametrize("name", ["convnova-386k", "dnabert-3"])
def test_a_training_in_bf16_learns_and_resumes(tmp_path, name):
    """Of ACGT repeated, which can be learned; its weights are kept in float32."""
    fasta(tmp_path / "g.fa", {"chr1": "ACGT" * 500, "chr2": "ACGT" * 100})
    how = replace(SHORT, recipe=Recipe(batch=8, lr=0.01, precision="bf16"))
    more = {"name": name, "how": how, "steps": 40, "looks": 4}
    done = pretrain(training(tmp_path, **more), tmp_path / "whole")
    losses = [json.loads(x)["held_out_loss"]
              for x in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]  # fmt: skip
    assert done["recipe"]["precision"] == "bf16" and losses[-1] < 0.8 * losses[0]
    weights = load_pretrained(tmp_path / "whole").net.state_dict()
    assert all(w.isfinite().all() and w.dtype == torch.float32 for w in weights.values())
    begun(tmp_path, **more)
    pretrain(training(tmp_path, **more), tmp_path / "net")
    assert bytes_of(tmp_path / "net") == bytes_of(tmp_path / "whole")
    exact = replace(how, recipe=replace(how.recipe, precision="fp32"))
    pretrain(training(tmp_path, **{**more, "how": exact}), tmp_path / "exact")
    assert bytes_of(tmp_path / "exact")[0] != bytes_of(tmp_path / "whole")[0]


def test_the_bench_of_pretraining_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))  # the bench sets its own
    bench = runpy.run_path(str(Path(__file__).parent / "bench" / "pretraining.py"))
    small = ["--rounds", "2", "--steps", "1", "--batch", "1", "--bp", "200000"]
    bench["main"](["--models", "convnova-386k", *small])
    *_, line = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"\| convnova-386k (\| [\d.]+ ms ){2}\| [\d.]+ \| [\d.]+ to [\d.]+ \|.*x\) \|", line
    )
    bench["main"](["--genome", "200000"])
    assert "199,680 bp: packed in" in capsys.readouterr().out  # of 16 equal sequences
