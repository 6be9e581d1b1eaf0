"""A training step of the real learner: eager, as the authors do it, as one graph, compiled."""

import time

import torch
from bench import official_step as theirs
from torch import nn

from dnabench import MODELS
from dnabench.train import compiled
from dnabench.train.precision import Arithmetic
from gpu.section import SHAPES, launches, learner, random_data, timed_steps

SLOW = "caduceus_ph"  # a loop over positions: thousands of launches a step


def section(s):
    """In this order, while the budget lasts; compiling takes longest."""
    for name in list(SHAPES)[:: 3 if s.tiny else 1]:
        for precision in ("fp32", "tf32", "bf16") if s.cuda else ("fp32",):
            if (name != SLOW or precision == "fp32") and not s.over(f"{name} {precision} eager", 4):
                measured(s, eager, name, precision, "eager")
    for name in ("convnova-386k", "convnova")[: 1 if s.tiny else 2]:
        for precision in ("fp32", "tf32", "bf16") if s.cuda else ("fp32",):
            if not s.over(f"{name} {precision} authors' form", 3):
                measured(s, official, name, precision, "authors' form and ours")
    for name in ("convnova-386k", "convnova", "hyenadna", "dnabert2") if s.cuda else ():
        for precision in ("fp32", "bf16"):
            if not s.over(f"{name} {precision} graph", 8):
                measured(s, whole_graph, name, precision, "one CUDA graph, fused AdamW")
    for name in ("convnova-386k", "convnova", "hyenadna")[: 1 if s.tiny else 3]:
        for precision in ("fp32", "bf16") if s.cuda else ("fp32",):
            if not s.over(f"{name} {precision} compiled", 45):
                measured(s, automatic, name, precision, "--compile auto")


def measured(s, measure, name, precision, form):
    batch, length, _ = s.shape(name)
    key = {"model": name, "batch": batch, "bp": length, "precision": precision, "form": form}
    s.row(lambda: measure(s, name, precision), **key)


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


def whole_graph(s, name, precision):
    """The bound: forward, loss, backward, clipping and a fused AdamW captured in one graph."""
    batch, length, options = s.shape(name)
    model, (task, _) = MODELS[name], random_data(2, length)
    torch.manual_seed(0)
    net = model.build(task, {**model.options, **options}).to(s.device).train()
    tokens = 128 if name == "dnabert2" else length
    ids = torch.randint(0, 4, (batch, tokens), device=s.device, dtype=torch.uint8)
    y = torch.randint(0, 2, (batch,), device=s.device)
    adam = torch.optim.AdamW(net.parameters(), 1e-3, fused=True, capturable=True)
    how = Arithmetic(precision, s.device)

    def step():
        adam.zero_grad(set_to_none=True)
        with how.forward():
            logits = net(ids, None)
        nn.functional.cross_entropy(logits.float(), y).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0, foreach=True)
        adam.step()

    with how.products():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        plain = s.best(step, 20)
        adam.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        start = time.perf_counter()
        with torch.cuda.graph(graph):
            step()
        s.sync()
        captured = time.perf_counter() - start
        replayed = s.best(graph.replay, 20)
    return {"ms": 1e3 * replayed, "eager_fused_ms": 1e3 * plain, "capture_s": captured}


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
            out |= layouts(s, options, batch, length, precision)
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
    torch.backends.cudnn.benchmark = False
    return out
