"""What tests/bench/speed.py measures ours against: the authors' way to do the same.

ConvNova as its authors run it, written from docs/models.md
(aim-uofa/ConvNova@c606027 has no licence; nothing is copied). Channels first: each block carries
(B, D, L), turns it over for its LayerNorm and back, and the pool is a cumulative mean over
positions of which the last one is used. The submodules have the names of `models/convnova.py`, so
`load_state_dict` moves weights both ways. Then their loader, and a selective scan by index.

B batch, L sequence length (bp), D width, K outputs.
"""

import torch
import torch.nn.functional as F
from torch import nn

from dnabench.models.convnova import OPTIONS, dilations

CLASSES = 5  # A C G T N
LEARNING_RATE, WEIGHT_DECAY, CLIP = 1e-3, 0.1, 1.0


def turned(norm, x):
    """LayerNorm over the channels of (B, D, L)."""
    return norm(x.permute(0, 2, 1)).permute(0, 2, 1)


class Backbone(nn.Module):
    """ids (B, L) to float32 (B, L, D); the options of `models/convnova.py` without ffn."""

    def __init__(self, options):
        super().__init__()
        o = {**OPTIONS, **options}
        d, k, n = o["width"], o["kernel_size"], o["blocks"] * o["stacks"]
        steps = dilations(o["blocks"], o["stacks"], o["dilation"], o["dilation_schedule"])

        def convolutions():
            reach = (k - 1) // 2
            return nn.ModuleList(nn.Conv1d(d, d, k, padding=reach * s, dilation=s) for s in steps)

        self.linear = nn.Conv1d(CLASSES, d, 9, padding=4)
        self.rc_linear = nn.Conv1d(CLASSES, d, 9, padding=4)
        self.convs, self.gates = convolutions(), convolutions()
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(n))
        self.rc_norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(n))
        e = d * o["d_inner"]
        self.milinear = nn.Sequential(
            nn.Linear(d, e), nn.GELU(), nn.Linear(e, e), nn.LayerNorm(e),
            nn.Linear(e, e), nn.GELU(), nn.Linear(e, d), nn.LayerNorm(d),
        )  # fmt: skip
        self.drop = nn.Dropout(o["dropout"])
        if o["final_conv"]:
            self.final_conv = nn.Sequential(nn.Conv1d(d, d, 1), nn.GELU(), nn.Conv1d(d, d, 1))

    def forward(self, ids):
        """The other strand is the complement, N stays N; it is not turned around."""
        other = torch.where(ids == 4, ids, 3 - ids)
        exact = self.linear.weight.dtype
        a, b = (F.one_hot(x.long(), CLASSES).to(exact).permute(0, 2, 1) for x in (ids, other))
        a, b = F.gelu(self.linear(a)), F.gelu(self.rc_linear(b))
        for conv, gate, norm, rc_norm in zip(
            self.convs, self.gates, self.norms, self.rc_norms, strict=True
        ):
            h = F.gelu(conv(turned(norm, self.drop(a))))
            g = torch.sigmoid(gate(turned(rc_norm, self.drop(b))))
            a, b = a + h * g, b + g
        a = a.permute(0, 2, 1)
        a = a + self.milinear(a)
        if hasattr(self, "final_conv"):
            a = self.final_conv(a.permute(0, 2, 1)).permute(0, 2, 1)
        return a


class Network(nn.Module):
    """ids (B, L) to logits float32 (B, K), through the cumulative mean over positions."""

    def __init__(self, options, outputs=2):
        super().__init__()
        self.backbone = Backbone(options)
        self.head = nn.Linear({**OPTIONS, **options}["width"], outputs)

    def forward(self, ids, mask=None):
        """The whole cumulative mean is made; its last position is the mean."""
        hidden = self.backbone(ids)
        count = torch.arange(1, 1 + hidden.shape[1], device=hidden.device)
        return self.head((hidden.cumsum(1) / count[:, None])[:, -1])


def optimizer(net):
    """AdamW on every parameter alike."""
    return torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def train_step(net, step, ids, labels, bf16=False):
    """One step of training, gradient clipping included; the loss."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = net(ids, None)
    loss = F.cross_entropy(logits.float(), labels)
    step.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), CLIP)
    step.step()
    return loss.detach()


def items(texts, length):
    """A data set of one sequence at a time: a tokenizer call, a list and a tensor for each.

    The ids of docs/models.md#letters-and-ids, which ConvNova lowers by 7; those below zero are N.
    """
    from transformers import PreTrainedTokenizer

    names = ["[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]", *"ACGTN"]
    places = {name: i for i, name in enumerate(names)}

    class Characters(PreTrainedTokenizer):
        model_input_names = ("input_ids",)
        vocab_size = len(names)

        def get_vocab(self):
            return dict(places)

        def _tokenize(self, text, **_):
            return list(text)

        def _convert_token_to_id(self, token):
            return places.get(token, places["[UNK]"])

        def _convert_id_to_token(self, index):
            return names[index]

    tokenizer = Characters(pad_token="[PAD]", unk_token="[UNK]", padding_side="left")

    class Items(torch.utils.data.Dataset):
        def __len__(self):
            return len(texts)

        def __getitem__(self, i):
            told = tokenizer(
                texts[i], add_special_tokens=False, padding="max_length", max_length=length,
                truncation=True,
            )  # fmt: skip
            ids = torch.LongTensor(told["input_ids"]) - 7
            return torch.where(ids < 0, CLASSES - 1, ids), 0

    return Items()


def batches(data, size, indices):
    """The ids (B, L) of batches of such a data set, through a DataLoader in this process."""
    part = torch.utils.data.Subset(data, indices)
    return [ids for ids, _ in torch.utils.data.DataLoader(part, batch_size=size)]


def indexed_scan(x, delta, a, b, c, chunk=0):
    """The recurrence with every tensor made for all positions, then read one position at a time."""
    decay = torch.exp(delta[..., None] * a)
    drive = (delta * x)[..., None] * b[..., None, :]
    h, out = torch.zeros_like(decay[:, 0]), []
    for t in range(x.shape[1]):
        h = decay[:, t] * h + drive[:, t]
        out.append((h * c[:, t, :, None, :]).sum(-1))
    return torch.stack(out, 1)
