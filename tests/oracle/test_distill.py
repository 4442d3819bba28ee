"""Ten AdamW steps of `prentice distill` against a plain torch loop: same student and teacher, same rows and order, the
divergences as the papers write them, over whole logits."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, read_metrics
from safetensors import safe_open
from test_training import encode
from tiny_models import SHAPE, make_model, save_folder
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

STEPS, BATCH, LR = 10, 4, 1e-3
TICKETS = ROOT / "data/tickets/train.jsonl"


def make_student(layers=2, width=32):
    torch.manual_seed(7)
    config = LlamaConfig(**{**SHAPE, "hidden_size": width, "intermediate_size": 64, "num_hidden_layers": layers})
    return LlamaForCausalLM(config).float().eval()


def divergence(kind, student, teacher, beta):
    """Per row, of log-probabilities."""
    p, q = student.exp(), teacher.exp()
    if kind == "forward_kl":
        return (q * (teacher - student)).sum(-1)
    if kind == "ce":
        return -(q * student).sum(-1)
    if kind == "reverse_kl":
        return (p * (student - teacher)).sum(-1)
    if kind == "tvd":
        return 0.5 * (p - q).abs().sum(-1)
    mixture = ((1 - beta) * p + beta * q).log()
    return beta * (q * (teacher - mixture)).sum(-1) + (1 - beta) * (p * (student - mixture)).sum(-1)


def cut(teacher, student, top_k, temperature):
    """Both sides as k + 1 events at the temperature: the k likeliest of the teacher, and the rest as one."""
    ids = teacher.topk(top_k, -1).indices

    def events(logits):
        log_probs = logits.log_softmax(-1)
        rest = 1 - log_probs.gather(-1, ids).exp().sum(-1, keepdim=True)
        return (torch.cat([log_probs.gather(-1, ids), rest.log()], -1) / temperature).log_softmax(-1)
    return events(student), events(teacher)


def cut_without_tail(teacher, student, top_k, temperature):
    values, ids = teacher.topk(top_k, -1)
    return (student / temperature).log_softmax(-1).gather(-1, ids), (values / temperature).log_softmax(-1)


def hidden_distance(kind, student, teacher, projections, labels):
    """The mean over layers; layers of the student meet the teacher's evenly spaced, the last on the last."""
    ours, theirs = student.hidden_states[1:], teacher.hidden_states[1:]
    rows = torch.tensor(labels[1:]) != -100
    total = 0.0
    for i, state in enumerate(ours):
        j = (i + 1) * len(theirs) // len(ours) - 1
        a, b = state[0, :-1][rows], theirs[j][0, :-1][rows]
        if projections:
            a = a @ projections[i].t()
        distance = ((a - b) ** 2).mean(-1) if kind == "hidden_mse" else 1 - F.cosine_similarity(a, b, -1)
        total = total + distance.sum() / len(ours)
    return total


def train_reference(student, teacher, rows, kind, settings, projections):
    temperature, weight, beta = settings.get("temperature", 1), settings.get("weight", 0.5), settings.get("beta", 0.5)
    top_k, tail = settings.get("top_k"), settings.get("tail", "event")
    weights = list(student.parameters()) + projections
    optimizer = torch.optim.AdamW(weights, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    losses = []
    for step in range(STEPS):
        batch = rows[step * BATCH : (step + 1) * BATCH]
        targets = sum(label != -100 for _, labels in batch for label in labels[1:])
        total = 0.0
        for ids, labels in batch:
            ours = student(torch.tensor([ids]), output_hidden_states=True)
            with torch.no_grad():
                theirs = teacher(torch.tensor([ids]), output_hidden_states=True)
            wanted = torch.tensor(labels[1:])
            hard = F.cross_entropy(ours.logits[0, :-1], wanted, ignore_index=-100, reduction="sum")
            s, t = ours.logits[0, :-1][wanted != -100], theirs.logits[0, :-1][wanted != -100]
            if kind.startswith("hidden"):
                distance = hidden_distance(kind, ours, theirs, projections, labels)
            else:
                if top_k:
                    s, t = (cut if tail == "event" else cut_without_tail)(t, s, top_k, temperature)
                else:
                    s, t = (s / temperature).log_softmax(-1), (t / temperature).log_softmax(-1)
                distance = temperature**2 * divergence(kind, s, t, beta).sum()
            loss = (weight * distance + (1 - weight) * hard) / targets
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses


CASES = {
    "forward_kl": ("forward_kl", {"temperature": 2, "weight": 0.7}),
    "reverse_kl": ("reverse_kl", {"weight": 0.3}),
    "jsd": ("jsd", {"beta": 0.3, "temperature": 1.5}),
    "tvd": ("tvd", {"weight": 1}),
    "ce": ("ce", {}),
    "top_k": ("forward_kl", {"top_k": 20, "temperature": 2}),
    "top_k_renormalized": ("forward_kl", {"top_k": 20, "tail": "renormalize"}),
    "hidden_mse": ("hidden_mse", {}),
    "hidden_cosine": ("hidden_cosine", {"weight": 1}),
}


@pytest.mark.parametrize("micros", [{}, {"train.micro_tokens": 64, "train.recompute": "block"}], ids=["packed", "micros"])
@pytest.mark.parametrize("name", CASES)
def test_ten_steps_equal_torch(name, micros, prentice, tmp_path):
    kind, settings = CASES[name]
    student, teacher = make_student(), make_model("llama", seed=2)
    save_folder(student, tmp_path / "student")
    folder = save_folder(teacher, tmp_path / "teacher")
    lines = TICKETS.read_text().splitlines()[: STEPS * BATCH]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    prentice.run(
        "distill", "model.path=student", "distill.teacher=teacher", "adapter.kind=full", "data.train=rows.jsonl",
        "data.shuffle=false", "data.eval_split=0", f"train.batch={BATCH}", "train.epochs=1", f"optim.lr={LR}",
        "optim.schedule=constant", "optim.warmup=0", f"distill.loss={kind}", "run.out=run", "run.precision=f32",
        "run.device=cpu", "run.threads=2", "run.log_every=1", "export.verify=false",
        *(f"distill.{key}={value}" for key, value in settings.items()), *(f"{key}={value}" for key, value in micros.items()))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    rows = [encode(tokenizer, json.loads(line)["messages"]) for line in lines]
    expected = train_reference(student, teacher, rows, kind, settings, start_of_projections(tmp_path / "run"))
    ours = read_metrics(tmp_path / "run")
    assert len(ours) == STEPS
    for (step, found), theirs in zip(sorted(ours.items()), expected):
        assert abs(found - theirs) < 1e-4 * max(1, abs(theirs)), f"step {step}: {found} against {theirs}"
    assert abs(ours[STEPS] - ours[1]) > 2e-3 and math.isfinite(ours[STEPS])


def start_of_projections(run):
    """The values that the run began with, from its first checkpoint: they are its own draw."""
    found = []
    path = run / "checkpoints/step-00000000/trainable.safetensors"
    if path.is_file():
        with safe_open(path, "pt") as file:
            found = [file.get_tensor(key).clone().requires_grad_() for key in sorted(file.keys())
                     if key.startswith("distill.projection")]
    return found
