#!/usr/bin/env python3
"""Golden numbers of the train room, from torch.optim, torch.nn.utils, transformers and tensorboard.

Usage: scripts/golden/train.py  (needs scripts/requirements/oracle.txt); writes tests/golden/train/*.json
"""
import json
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from transformers import LlamaConfig, LlamaForCausalLM, optimization

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/train"
SHAPES = {"layer.lora_A.weight": (3, 5), "layer.lora_B.weight": (4, 3), "layer.norm.weight": (7,),
          "embed.lora_embedding_A": (2, 6)}
STEPS = 20


def start():
    generator = torch.Generator().manual_seed(5)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    # Steps 6 to 12 have gradients long enough to be clipped at 1.
    gradients = [
        {name: torch.randn(shape, generator=generator) * (0.5 if 5 <= step < 12 else 0.02) for name, shape in SHAPES.items()}
        for step in range(STEPS)
    ]
    return weights, gradients


def flat(tensors):
    return {name: tensor.detach().flatten().tolist() for name, tensor in tensors.items()}


def groups(params, lr, decay, ratio):
    """One group a tensor: matrices decay; with LoRA+ (ratio other than 1) the rates of peft."""
    return [
        {"params": [tensor], "lr": loraplus_rate(name, tensor, lr, ratio), "weight_decay": decay if tensor.dim() >= 2 else 0.0}
        for name, tensor in params.items()
    ]


def loraplus_rate(name, tensor, lr, ratio):
    if ratio == 1:
        return lr
    if ".lora_embedding_" in name:
        return 1e-6
    return lr * ratio if "lora_B" in name or tensor.dim() == 1 else lr


def check_loraplus():
    """loraplus_rate against peft's own groups, on a model with every kind of tensor that trains."""
    config = LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)
    for options in (dict(target_modules=["embed_tokens", "q_proj"], modules_to_save=["norm", "lm_head"]), dict(target_modules="all-linear", use_dora=True)):
        model = get_peft_model(LlamaForCausalLM(config), LoraConfig(task_type="CAUSAL_LM", **options))
        optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=8.0, loraplus_weight_decay=0.1)
        rates = {id(tensor): group["lr"] for group in optimizer.param_groups for tensor in group["params"]}
        for name, tensor in model.named_parameters():
            if tensor.requires_grad:
                assert rates[id(tensor)] == loraplus_rate(name, tensor, 1e-3, 8.0), name


def lion_step(params, moments, options, step_lr, b1, b2):
    """Chen et al. 2023, algorithm 2, in plain f32 tensor arithmetic."""
    for (name, tensor), group in zip(params.items(), options):
        lr = group["lr"] * step_lr
        update = (b1 * moments[name] + (1 - b1) * tensor.grad).sign()
        tensor.data -= lr * (update + group["weight_decay"] * tensor.data)
        moments[name] = b2 * moments[name] + (1 - b2) * tensor.grad


def run_optimizer(name, lr, decay, ratio, betas, eps):
    weights, gradients = start()
    params = {key: value.clone().requires_grad_(True) for key, value in weights.items()}
    options = groups(params, lr, decay, ratio)
    if name == "adamw":
        optimizer = torch.optim.AdamW(options, betas=betas, eps=eps, fused=True)
    elif name == "sgd":  # torch's own weight decay is not decoupled, so it is applied by hand
        optimizer = torch.optim.SGD([{**group, "weight_decay": 0.0} for group in options], lr=lr, momentum=betas[0])
    moments = {key: torch.zeros_like(value) for key, value in params.items()}
    base = [group["lr"] for group in options]
    norms, losses = [], []
    for step, of_step in enumerate(gradients):
        for key, tensor in params.items():
            tensor.grad = of_step[key].clone()
        norms.append(torch.nn.utils.clip_grad_norm_(params.values(), 1.0).item())
        factor = 0.5 + step / STEPS
        if name == "lion":
            lion_step(params, moments, options, factor, *betas)
            continue
        for group, rate in zip(optimizer.param_groups, base):
            group["lr"] = rate * factor
        if name == "sgd":
            for tensor, group, rate in zip(params.values(), options, base):
                tensor.data.mul_(1 - rate * factor * group["weight_decay"])
        optimizer.step()
    return {"name": name, "lr": lr, "weight_decay": decay, "lr_ratio": ratio, "betas": betas, "eps": eps, "norms": norms, "weights": flat(params)}


def optimizers():
    weights, gradients = start()
    cases = [
        run_optimizer("adamw", 1e-2, 0.0, 1.0, (0.9, 0.999), 1e-8),
        run_optimizer("adamw", 1e-2, 0.1, 16.0, (0.9, 0.95), 1e-6),
        run_optimizer("sgd", 1e-1, 0.0, 1.0, (0.9, 0.999), 1e-8),
        run_optimizer("sgd", 1e-1, 0.2, 4.0, (0.8, 0.999), 1e-8),
        run_optimizer("sgd", 1e-1, 0.1, 2.0, (0.0, 0.999), 1e-8),  # plain, without momentum
        run_optimizer("lion", 1e-3, 0.0, 1.0, (0.9, 0.99), 1e-8),
        run_optimizer("lion", 1e-3, 0.3, 2.0, (0.95, 0.98), 1e-8),
    ]
    shapes = {name: list(shape) for name, shape in SHAPES.items()}
    return {"shapes": shapes, "weights": flat(weights), "gradients": [flat(step) for step in gradients], "cases": cases}


def schedules():
    """get_*_schedule lambdas. min_lr is left out where transformers' warm-up begins at it instead of at 0."""
    parameter = [torch.nn.Parameter(torch.zeros(1))]
    cases = []
    for steps, warmup in [(40, 0), (40, 7), (1, 0), (5, 9), (100, 1)]:
        sgd = torch.optim.SGD(parameter, lr=1.0)
        decay = round(0.2 * steps)
        made = {
            ("cosine", 0.0): optimization.get_cosine_schedule_with_warmup(sgd, warmup, steps),
            ("cosine", 0.1): optimization.get_cosine_with_min_lr_schedule_with_warmup(sgd, warmup, steps, min_lr_rate=0.1),
            ("linear", 0.0): optimization.get_linear_schedule_with_warmup(sgd, warmup, steps),
            ("constant", 0.0): optimization.get_constant_schedule_with_warmup(sgd, warmup),
        }
        if warmup + decay <= steps:
            made["wsd", 0.0] = optimization.get_wsd_schedule(sgd, warmup, decay, num_training_steps=steps)
        for (kind, min_lr), schedule in made.items():
            factors = [schedule.lr_lambdas[0](step) for step in range(steps)]
            cases.append({"kind": kind, "steps": steps, "warmup": warmup, "min_lr": min_lr, "decay": 0.2, "factors": factors})
    return {"cases": cases}


def tensorboard():
    """Bytes of whole records as the tensorboard package writes them."""
    events = []
    for step, tag, value in [(1, "train/loss", 1.8419997), (120, "eval/loss", 0.25), (40000, "train/lr", 9.6e-05)]:
        event = Event(wall_time=1700000000.25, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
        path = OUT / "record.tmp"
        with open(path, "wb") as file:
            RecordWriter(file).write(event.SerializeToString())
        events.append({"step": step, "tag": tag, "value": value, "wall_time": 1700000000.25, "record": path.read_bytes().hex()})
        path.unlink()
    return {"events": events}


def write(name, content):
    (OUT / name).write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    check_loraplus()
    write("optimizer.json", optimizers())
    write("schedule.json", schedules())
    write("tensorboard.json", tensorboard())
