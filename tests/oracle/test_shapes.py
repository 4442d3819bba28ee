"""The public shapes under configs/models against transformers: the same tensor names and sizes (its model on the meta
device) and the parameter count of the published weights; `plan` runs on each without a download."""

import json
import os
import subprocess

import pytest
import torch
from conftest import ROOT, Prentice, built
from transformers import AutoConfig, AutoModelForCausalLM

SHAPES = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "configs/models").glob("*.json"))}

# A tied head counts with its embedding; Gemma 3 4B and 12B without their vision part. The card of StableLM 2 12B states
# 12,143,605,760, which no reading of its shape gives: here stands what transformers counts.
PUBLISHED = {
    "gemma-2-2b": 2_614_341_888, "gemma-2-9b": 9_241_705_984, "gemma-2b": 2_506_172_416, "gemma-7b": 8_537_680_896,
    "gemma-3-1b": 999_885_952, "gemma-3-4b": 3_880_263_168, "gemma-3-12b": 11_766_034_176,
    "llama-2-7b": 6_738_415_616, "llama-2-13b": 13_015_864_320, "llama-3-8b": 8_030_261_248, "llama-3.1-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400, "llama-3.2-3b": 3_212_749_824,
    "mistral-7b-v0.1": 7_241_732_096, "mistral-7b-v0.3": 7_248_023_552,
    "phi-2": 2_779_683_840, "phi-3-mini-4k": 3_821_079_552, "phi-3-mini-128k": 3_821_079_552, "phi-3.5-mini": 3_821_079_552,
    "phi-4-mini": 3_836_021_760, "phi-4": 14_659_507_200,
    "qwen2.5-0.5b": 494_032_768, "qwen2.5-1.5b": 1_543_714_304, "qwen2.5-3b": 3_085_938_688, "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen3-0.6b": 596_049_920, "qwen3-1.7b": 1_720_574_976, "qwen3-4b": 4_022_468_096, "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "smollm2-135m": 134_515_008, "smollm2-360m": 361_821_120, "smollm2-1.7b": 1_711_376_384,
    "stablelm-2-1.6b": 1_644_515_328, "stablelm-2-12b": 12_143_185_920,
}


def on_meta(config, folder):
    """{tensor: shape} of transformers' model of this config.json."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return {name: list(parameter.shape) for name, parameter in model.named_parameters()}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    program = built("test_model")
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "shapes.json").write_text(json.dumps(SHAPES))
    subprocess.run([program, "--gtest_filter=Oracle.WritesTheTensorsOfShapes"], check=True, capture_output=True,
                   env={**os.environ, "PRENTICE_ORACLE_DIR": str(folder)})
    return json.loads((folder / "tensors.json").read_text())


@pytest.mark.parametrize("name", SHAPES)
def test_tensors_equal_transformers_and_their_number_is_the_published_one(name, ours, tmp_path):
    assert ours[name] == on_meta(SHAPES[name], tmp_path / "model")
    if not name.startswith("quickstart-"):  # those are this project's own
        assert sum(torch.Size(shape).numel() for shape in ours[name].values()) == PUBLISHED[name]


@pytest.mark.parametrize("name", SHAPES)
def test_plan_needs_no_download(name, binary, tmp_path):
    """Memory, time and disk of a fine-tuning on one GPU, from the shape and any tokenizer."""
    planned = Prentice(binary, tmp_path).run(
        "plan", ROOT / "recipes/quickstart/sft.yaml", f"model.path={name}", "model.init=random",
        f"model.tokenizer={ROOT / 'data/quickstart/tokenizer'}", "plan.hardware=h200-141gb", "--json")
    plan = json.loads(planned.stdout)
    assert plan["fits"]
    weights = sum(torch.Size(shape).numel() for shape in on_meta(SHAPES[name], tmp_path / "model").values()) * 2
    assert weights < plan["memory"]["load"] < 1.2 * weights + 2**30
