"""TRL's SFTTrainer with a PEFT LoRA on the rows of run.py: peer.py MODEL ROWS all|answers|varied STEPS BATCH LENGTH BASE REPORT.
BASE: f32, or nf4 for bitsandbytes with nested constants and products in f32. Writes the clock at the end of each step."""

import json
import sys
import time

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer

model_path, rows_path, mode, steps, batch, length, base, report = sys.argv[1:]
torch.set_num_threads(2)
times = []


class Clock(TrainerCallback):
    def on_step_end(self, *_, **__):
        times.append(time.time())


nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)
quantized = {"quantization_config": nf4, "device_map": "cpu"} if base == "nf4" else {}
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32, **quantized),
    processing_class=AutoTokenizer.from_pretrained(model_path),
    train_dataset=Dataset.from_list([json.loads(line) for line in open(rows_path)]),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    callbacks=[Clock()],
    args=SFTConfig(
        output_dir=report + ".out", max_steps=int(steps), per_device_train_batch_size=int(batch), max_length=int(length),
        learning_rate=2e-4, use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False, report_to=[], save_strategy="no",
        logging_strategy="no", completion_only_loss=mode != "all", shuffle_dataset=False, dataloader_num_workers=0, seed=0),
)
trainer.train()
with open(report, "w") as out:
    json.dump(times, out)
