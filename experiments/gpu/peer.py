"""TRL's SFTTrainer with a PEFT LoRA r16 on random weights of a shape: peer.py SHAPE LENGTH MICRO_TOKENS STEPS plain|nf4
cpu|cuda REPORT. Rows of exactly LENGTH tokens from data/office.txt, as run.py's. Exit 3 where a package is missing."""

import json
import sys
import time
from pathlib import Path

try:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer
except ImportError as missing:
    print(missing)
    sys.exit(3)

ROOT = Path(__file__).resolve().parent.parent.parent
shape, length, micro, steps, kind, device, report = sys.argv[1:]
length, micro, steps = int(length), int(micro), int(steps)
gpu = device == "cuda"
dtype = torch.bfloat16 if gpu else torch.float32


class Clock(TrainerCallback):
    def __init__(self):
        self.times = []

    def on_step_begin(self, *_, **__):
        if gpu:
            torch.cuda.synchronize()
        self.begin = time.perf_counter()

    def on_step_end(self, *_, **__):
        if gpu:
            torch.cuda.synchronize()
        self.times.append(time.perf_counter() - self.begin)


def in_four_bits(model):
    """Every linear layer but the head as bitsandbytes holds it: what loading with load_in_4bit makes."""
    try:
        import bitsandbytes as bnb
    except ImportError as missing:
        print(missing)
        sys.exit(3)
    for name, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear) or name == "lm_head":
            continue
        packed = bnb.nn.Linear4bit(module.in_features, module.out_features, bias=module.bias is not None, compute_dtype=dtype,
                                   compress_statistics=True, quant_type="nf4")
        packed.weight = bnb.nn.Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
        packed.bias = module.bias
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, packed.to(device))
    model.is_loaded_in_4bit = model.is_quantized = True
    return model


tokenizer = AutoTokenizer.from_pretrained(ROOT / "data/quickstart/tokenizer")
facts = json.loads((ROOT / f"configs/models/{shape}.json").read_text())
facts = facts.get("config", facts)
config = AutoConfig.for_model(facts["model_type"], **{key: value for key, value in facts.items() if key != "model_type"})
with torch.device(device):
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
if kind == "nf4":
    model = in_four_bits(model)
ids = tokenizer((ROOT / "data/office.txt").read_text())["input_ids"]
rows = [ids[i:i + length] for i in range(0, len(ids) - length, length)]
needed = steps * (micro // length)
rows = (rows * (needed // len(rows) + 1))[:needed]
clock = Clock()
trainer = SFTTrainer(
    model=model, processing_class=tokenizer,
    train_dataset=Dataset.from_list([{"input_ids": row, "labels": row} for row in rows]),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"), callbacks=[clock],
    args=SFTConfig(output_dir=report + ".out", max_steps=steps, per_device_train_batch_size=micro // length, max_length=length,
                   learning_rate=2e-4, use_cpu=not gpu, bf16=gpu, gradient_checkpointing=False, report_to=[], save_strategy="no",
                   logging_strategy="no", shuffle_dataset=False, dataloader_num_workers=0, seed=0))
trainer.train()
Path(report).write_text(json.dumps({"step_seconds": clock.times}) + "\n")
