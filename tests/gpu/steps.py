"""A training step of the real learner: eager, as the authors do it, as one graph, compiled."""

import math
import time
from dataclasses import replace

import numpy as np
import torch
from bench import official_step as theirs
from torch import nn

from dnabench import MODELS
from dnabench.train import compiled
from dnabench.train.precision import Arithmetic
from gpu.section import SHAPES, launches, learner, random_data, timed_steps, with_graph

SLOW = "caduceus_ph"  # without Triton a loop over positions


def section(s):
    """In this order, while the budget lasts: what is compared side by side; compiling last."""
    names = list(SHAPES)[:: 3 if s.tiny else 1]
    for name in names:
        for precision in ("fp32", "bf16") if s.cuda else ("fp32",):
            measured(s, eager, 4, name, precision, "eager")
            measured(s, graph, 6, name, precision, "one graph")
    for name in ("convnova-386k", "convnova")[: 1 if s.tiny else 2]:
        for precision in ("fp32", "tf32", "bf16") if s.cuda else ("fp32",):
            measured(s, official, 3, name, precision, "authors' form and ours")
    s.row(lambda: others(s), needs=12, form="one graph, small, of the other families")
    s.row(lambda: random_numbers(s), form="dropout in replays")
    for how in ("waits", "raises", "synchronises"):
        s.row(lambda how=how: refused(s, how), form=f"a network that {how}")
    for name in names if s.cuda else ():
        measured(s, eager, 4, name, "tf32", "eager")
    for name in ("convnova-386k", "convnova", "hyenadna")[: 1 if s.tiny else 3]:
        for precision in ("fp32", "bf16") if s.cuda else ("fp32",):
            measured(s, automatic, 45, name, precision, "--compile auto")


def measured(s, measure, needs, name, precision, form):
    batch, length, _ = s.shape(name)
    key = {"model": name, "batch": batch, "bp": length, "precision": precision, "form": form}
    s.row(lambda: measure(s, name, precision), needs, **key)


def eager(s, name, precision):
    n = 3 if s.tiny else 4 if name == SLOW else 12
    one, _ = learner(s, name, s.shape(name), precision, n)
    out = timed_steps(s, one, n)
    if precision in ("fp32", "bf16") and name != SLOW:
        out |= launches(s, one.train_epoch, n)
    reserved = torch.cuda.max_memory_reserved() / 1e9 if s.cuda else 0
    return out | {"peak_GB": s.peak_gb(), "reserved_GB": reserved}


def automatic(s, name, precision):
    """As `--compile auto` does, however few the steps."""
    compiled.LEAST_STEPS = 0
    n = 3 if s.tiny else 12
    one, _ = learner(s, name, s.shape(name), precision, n, "auto")
    start = time.perf_counter()
    one.train_epoch()
    s.sync()
    first = time.perf_counter() - start
    out = timed_steps(s, one, n) | {"said": one.notes.get("compile"), "first_epoch_s": first}
    if s.cuda:
        out |= {k: v for k, v in launches(s, one.train_epoch, n).items() if k != "slowest"}
        out["peak_GB"] = s.peak_gb()
    return out


def graph(s, name, precision):
    """The whole step as one graph, by the learner, whatever a clock says."""
    compiled.LEAST_STEPS = math.inf
    n, shape = 3 if s.tiny else 12, s.shape(name)
    one, _ = learner(s, name, shape, precision, n, "auto")
    with_graph(one)
    start = time.perf_counter()
    one.train_epoch()
    s.sync()
    first = time.perf_counter() - start
    out = timed_steps(s, one, n) | {"said": one.notes["graph"], "first_epoch_s": first}
    if s.cuda:
        out |= {k: v for k, v in launches(s, one.train_epoch, n).items() if k != "slowest"}
    out |= {"peak_GB": s.peak_gb(), "off": apart(s, name, precision)}
    return out | {"ok": out["said"] == "on" and out["off"] < 1e-2}


def apart(s, name, precision):
    """How far the weights are from those of eager after two epochs of three steps."""
    found, (batch, length, options) = [], s.shape(name)
    for quick in (False, True):
        one, _ = learner(s, name, (min(batch, 16), length, options), precision, 3, "auto")
        with_graph(one)
        if not quick:
            one._graph.stop("for comparison")
        one.train_epoch()
        one.train_epoch()
        found.append([p.detach().float() for p in one.net.parameters()])
    return max(float((a - b).abs().max()) for a, b in zip(*found, strict=True))


def others(s):
    """What is said of a step of the families without a row of their own, and of other heads."""
    compiled.LEAST_STEPS = math.inf
    families, said = {MODELS[name].family: name for name in SHAPES}, {}
    for name in MODELS:
        if not MODELS[name].custom_trainer:
            families.setdefault(MODELS[name].family, name)
    names = [(name, "own") for name in families.values() if name not in SHAPES]
    for name, head in [*names[:: 4 if s.tiny else 1], ("hyenadna", "conv"), ("ntv2-50m", "conv")]:
        options = {k: v for k, v in MODELS[name].reduced.items() if k != "vocabulary"}
        if MODELS[name].tokenizer == "bpe":
            options["tokenizer"] = "char-cls-sep"
        try:
            one, _ = learner(s, name, (8, 60, options), steps=3, compiling="auto", head=head)
            with_graph(one)
            one.train_epoch()
            said[f"{name} {head}"] = one.notes["graph"]
        except Exception as e:
            said[f"{name} {head}"] = f"{type(e).__name__}: {str(e)[:80]}"
    off = {k: v for k, v in said.items() if v != "on"}
    return {"on": len(said) - len(off), "tried": len(said), "said": off, "ok": not off}


def with_dropout(s, steps):
    """A small network with dropout, whose step is to be recorded."""
    compiled.LEAST_STEPS = math.inf
    shape = (8, 60, dict(MODELS["dnabert"].reduced))
    one, _ = learner(s, "dnabert", shape, steps=steps, compiling="auto")
    with_graph(one)
    return one


def random_numbers(s):
    """Replays of one batch that change nothing must draw other dropout each time."""
    one = with_dropout(s, 2)
    one.recipe = replace(one.recipe, lr=0.0, weight_decay=0.0, warmup=0)
    for _ in range(2):
        one.train_epoch()
    rows = one._data.rows(np.arange(8))
    losses = [float(one._train_step(rows)) for _ in range(3)]
    return {"said": one.notes["graph"], "losses": losses, "ok": len(set(losses)) == 3}


def refused(s, how):
    """A network that no graph can hold must run on eagerly, and still draw dropout.

    The last of them breaks the recording itself, so that it cannot even be ended: the stream must
    be the usual one again, and memory must be freed.
    """
    one = with_dropout(s, 4)

    def waits(module, given, out):
        float(out.detach().sum())

    def raises(module, given, out):
        if s.cuda and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("not while it is recorded")

    def synchronises(module, given, out):
        if s.cuda and torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()

    hooks = {"waits": waits, "raises": raises, "synchronises": synchronises}
    one.net.register_forward_hook(hooks[how])
    losses = [one.train_epoch() for _ in range(2)]
    said, ok = one.notes["graph"], True
    if s.cuda:
        torch.cuda.empty_cache()
        usual = torch.cuda.current_stream() == torch.cuda.default_stream()
        ok = said.startswith("off: ") and usual
    return {"said": said, "losses": losses, "ok": ok}


def official(s, name, precision):
    """The authors' form of ConvNova's step on the same device, and how far the logits differ."""
    batch, length, reduced = s.shape(name)
    options = {**MODELS[name].options, **reduced, "dilation_schedule": "code"}
    torch.manual_seed(0)
    nets = {"theirs": theirs.Network(options).to(s.device)}
    nets["ours"] = MODELS[name].build(random_data(2, length)[0], options).to(s.device)
    nets["ours"].load_state_dict(nets["theirs"].state_dict())
    ids = torch.randint(0, 4, (batch, length), device=s.device)
    inputs = {"theirs": ids, "ours": ids.to(torch.uint8)}
    y, how = torch.randint(0, 2, (batch,), device=s.device), Arithmetic(precision, s.device)
    with how.products():
        with torch.no_grad(), how.forward():
            a, b = (nets[who](inputs[who], None).float() for who in nets)
        out = {"logits_off": float((a - b).abs().max() / a.abs().max())}
        for who, net in nets.items():
            s.clear()
            out |= {f"{who}_{k}": v for k, v in of_form(s, net, inputs[who], y, how).items()}
        if s.cuda:
            try:
                out |= layouts(s, options, batch, length, precision)
            finally:
                torch.backends.cudnn.benchmark = False
    return out | {"ratio": out["theirs_ms"] / out["ours_ms"]}


def of_form(s, net, ids, y, how):
    """Milliseconds of a training step and of a forward pass, and peak memory."""
    n, adam = 2 if s.tiny else 10, theirs.optimizer(net)

    def train():
        for _ in range(n):
            with how.forward():
                logits = net(ids, None)
            loss = nn.functional.cross_entropy(logits.float(), y)
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            adam.step()

    def predict():
        with torch.inference_mode(), how.forward():
            for _ in range(n):
                net(ids, None)

    out = {"ms": 1e3 * s.best(train, 5) / n, "peak_GB": s.peak_gb()}
    return out | {"infer_ms": 1e3 * s.best(predict, 5) / n}


def layouts(s, options, batch, length, precision):
    """A convolution and its gradients: (B, D, L) or channels last, cuDNN's benchmark off or on."""
    d, k, out = options["width"], options["kernel_size"], {}
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    w = torch.randn(d, d, k, device=s.device, dtype=dtype, requires_grad=True)
    for benchmark in (False, True):
        torch.backends.cudnn.benchmark = benchmark
        for step in (1, 16):
            for layout in ("ncl", "nhwc"):
                x = torch.randn(batch, d, length, device=s.device, dtype=dtype)
                if layout == "nhwc":
                    x = x.transpose(1, 2).contiguous().transpose(1, 2).unsqueeze(2)
                x.requires_grad_()

                def call(x=x, layout=layout, reach=(k - 1) // 2 * step, step=step):
                    if layout == "ncl":
                        y = nn.functional.conv1d(x, w, None, 1, reach, step)
                    else:
                        y = nn.functional.conv2d(x, w.unsqueeze(2), None, 1, (0, reach), (1, step))
                    torch.autograd.grad(y, (x, w), torch.ones_like(y))

                name = f"conv_d{step}_{layout}{'_bench' if benchmark else ''}_ms"
                out[name] = 1e3 * s.best(call, 9)
    return out
