"""Live references for the text room: transformers' template renderer on every template that TRL ships, with the spans
of its {% generation %} blocks, and the tokenizers of the shared data on shared text. Drives test_text through a file."""
import json
import os
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/golden"))
import chat as families  # noqa: E402
import text as golden  # noqa: E402
from conftest import absent  # noqa: E402

DATA = Path(os.environ.get("PRENTICE_TEST_DATA", ROOT / "../shared/data")).resolve()
BINARY = Path(os.environ.get("PRENTICE_BUILD", ROOT / "build")).resolve() / "test_text"

# By the beginning of a template's name: the tokens of its tokenizer, end tokens first; BOS and EOS.
FAMILIES = {
    "llama3": (["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>", "<|python_tag|>"],
               "<|begin_of_text|>", "<|eot_id|>"),
    "gemma": (["<end_of_turn>", "<eos>", "<start_of_turn>", "<bos>"], "<bos>", "<eos>"),
    "phi3": (["<|end|>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<s>"], "<s>", "<|endoftext|>"),
    "qwen": (["<|im_end|>", "<|endoftext|>", "<|im_start|>"], None, "<|im_end|>"),
}
NOT_SPECIAL = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
# Multimodal or of a family this program does not train; their text is compared all the same.
WITH_SPANS = ["llama3_training", "gemma_training", "gemma3_training", "phi3_training", "phi3_5_training", "qwen2_5_training",
              "qwen3_training", "qwen3_instruct_2507_training"]
# The same text with and without {% generation %}: here the markers must find what the blocks say.
TWINS = {"qwen2_5": "qwen2_5_training", "phi3": "phi3_training", "phi3_5": "phi3_5_training", "llama3": "llama3_training",
         "gemma": "gemma_training", "gemma3": "gemma3_training", "qwen3_instruct_2507": "qwen3_instruct_2507_training", "qwen3": "qwen3_training"}


def family(name):
    for prefix, value in FAMILIES.items():
        if name.startswith(prefix):
            return value
    return ["</s>", "<s>"], "<s>", "</s>"


def expected_spans(case, messages, ends):
    """What an assistant must write, from transformers' block ranges: without what the generation prompt says (a leading
    newline, an empty thinking block), without the newline behind the end token and a second end token after it."""
    text, out = case["text"], []
    turns = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    for k, (begin, end) in enumerate(case["blocks"]):
        piece = text[begin:end].rstrip("\n")
        if not text[:begin].endswith("\n"):
            piece = piece.removeprefix("\n")
        if case["arguments"].get("enable_thinking") is False:
            piece = piece.removeprefix("<think>\n\n</think>\n\n")
        if out and piece in ends and text[:begin].rstrip("\n").endswith(tuple(ends)):
            continue
        out.append([turns[min(k, len(turns) - 1)], piece])
    return out


def template_cases():
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    cases = []
    for path in sorted(folder.glob("*.jinja")):
        source, name = path.read_text(), path.stem
        tokens, bos, eos = family(name)
        special = {key: value for key, value in (("bos_token", bos), ("eos_token", eos)) if value}
        added = [[t, True] for t in tokens] + [[t, False] for t in NOT_SPECIAL]
        options = {k: v for k, v in golden.OPTIONS.items() if not v or any(key in source for key in v)}
        twin = golden.template_cases(TWINS[name], (folder / (TWINS[name] + ".jinja")).read_text(), special, options) if name in TWINS else None
        for index, case in enumerate(golden.template_cases(name, source, special, options)):
            case |= {"source": source, "added": added, "config": special}
            blocks = case.pop("blocks", None)
            calls = any("tool_calls" in m for m in case["messages"])
            reasons = any("reasoning_content" in m for m in case["messages"])
            if (calls and "tool_calls" not in source) or (reasons and case["arguments"].get("enable_thinking") is False):
                cases.append(case)  # refused, or a contradiction: only the text is compared
                continue
            if twin and twin[index].get("text") == case.get("text") and "text" in case:
                case["spans"] = expected_spans(twin[index], case["messages"], tokens[:2])
            elif name in WITH_SPANS and "text" in case:
                case["spans"] = expected_spans({**case, "blocks": blocks}, case["messages"], tokens[:2])
            cases.append(case)
    return cases


def shared_text():
    rows = []
    for name in ("datasets/wikitext2/valid.txt", "datasets/tinyshakespeare/input.txt", "datasets/llamafactory_demo/wiki_demo.txt"):
        rows += [line for line in (DATA / name).read_text(errors="replace").splitlines() if line.strip()][:300]
    for name in ("datasets/tinystories/train.jsonl", "datasets/gsm8k/train.jsonl"):
        for line in (DATA / name).read_text().splitlines()[:150]:
            rows.append(" ".join(str(value) for value in json.loads(line).values()))
    return rows


def random_text(count):
    """Code points of all planes, white space and pieces of special tokens, in no order."""
    generator = random.Random(11)
    pieces = ["<|im_end|>", "</s>", "<|", "|>", "\n", "\r\n", "  ", "\t", "\u2581", "'s", "12", "\u0301", "\u200d"]

    def one():
        if generator.random() < 0.4:
            return generator.choice(pieces)
        top = generator.choice([0x80, 0x250, 0x3000, 0xD7FF, 0x1FAFF, 0x10FFFF])
        code = generator.randrange(1, top)
        return chr(code) if not 0xD800 <= code <= 0xDFFF else "x"

    return ["".join(one() for _ in range(generator.randrange(1, 40))) for _ in range(count)]


def random_conversation(generator):
    """Roles in an order that a template may refuse, contents that it may trim, parse or take for its own words."""
    pieces = ["", " ", "\n", "Hi", "\u00e9\u4f60", "\U0001f680", "<think>\nhm\n</think>\n\n", "</think>", "<|im_end|>", "{{ x }}", "{% if %}",
              "\u2003", "\x1c", "\u00a0x", "'\"\\", "<&>", "\u0130", "[INST]", "<tool_response>\n", "\t", "1.50"]

    def words():
        return "".join(generator.choice(pieces) for _ in range(generator.choice([0, 1, 1, 2, 3])))

    def value(depth=0):
        kinds = [lambda: generator.randrange(-9, 10**12), lambda: generator.choice([0.5, -1e-7, 1e22, 3.0, 123456.789]), words, lambda: None,
                 lambda: generator.random() < 0.5, lambda: [value(2) for _ in range(generator.randrange(3))],
                 lambda: {words() or "k": value(2) for _ in range(generator.randrange(3))}]
        return generator.choice(kinds[: 5 if depth > 1 else 7])()

    messages = [{"role": "system", "content": words()}] if generator.random() < 0.4 else []
    role = "user"
    for _ in range(generator.randrange(1, 7)):
        if generator.random() < 0.1:
            role = generator.choice(["user", "assistant", "tool", "system"])
        message = {"role": role, "content": words()}
        if role == "assistant" and generator.random() < 0.3:
            arguments = {name: value() for name in generator.sample(["city", "days", "\u00fc", "<a>"], generator.randrange(4))}
            message["tool_calls"] = [golden.call("get_weather", arguments) for _ in range(generator.choice([1, 1, 2]))]
        if role == "assistant" and generator.random() < 0.15:
            message["reasoning_content"] = message["thinking"] = words()
        messages.append(message)
        role = {"user": "assistant", "assistant": "tool" if "tool_calls" in message else "user", "tool": "assistant", "system": "user"}[role]
    return messages, golden.TOOLS if generator.random() < 0.3 else None


def run(cases, tmp_path):
    if not BINARY.exists():
        absent(f"{BINARY} is not built")
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": cases}))
    environment = {**os.environ, "PRENTICE_TEXT_CASES": str(path), "PRENTICE_TEST_DATA": str(DATA)}
    result = subprocess.run([BINARY, "--gtest_filter=Golden.CasesOfALiveOracle"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"{len(re.findall('Failure', result.stdout))} failures\n" + result.stdout[:6000]
    assert "SKIPPED" not in result.stdout


def test_every_template_of_trl_renders_alike_and_gives_the_same_spans(tmp_path):
    cases = template_cases()
    assert len(cases) > 500 and sum("spans" in case for case in cases) > 100
    run(cases, tmp_path)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_family_is_rendered_as_transformers_does_and_trains_what_its_golden_text_shows(name, tmp_path):
    cases = families.cases_of(name)
    rendered = [case for case in cases if "text" in case]
    spans = [span for case in rendered for span in case.get("spans", [])]
    end = families.FAMILIES[name][4]
    assert len(cases) >= 24 and len(rendered) >= 16 and len(spans) >= 12
    assert all(text.endswith(end) and text.count(end) == 1 for _, text in spans)
    bos = families.special_tokens(name).get("bos_token")
    assert not bos or not any(bos + bos in case["text"] for case in rendered)
    assert families.shown(name) == (ROOT / f"tests/golden/text/spans/{name}.txt").read_text()
    run(cases, tmp_path)


def test_random_conversations_are_rendered_as_transformers_does(tmp_path):
    generator, cases = random.Random(23), []
    for index in range(200):
        messages, tools = random_conversation(generator)
        prompt = generator.random() < 0.3
        for name in generator.sample(sorted(families.FAMILIES), 8):
            special, source = families.special_tokens(name), families.source(name)
            case = {"name": f"{name}: random {index}", "template": name, "source": source, "messages": messages, "tools": tools,
                    "arguments": {}, "prompt": prompt, "added": families.added_tokens(name), "config": special}
            case |= golden.render(source, messages, tools, special, {}, prompt)
            case.pop("blocks", None)
            cases.append(case)
    assert sum("text" in case for case in cases) > 800
    run(cases, tmp_path)


def test_white_space_of_every_kind_is_stripped_and_split_at_as_python_does(tmp_path):
    source = ("{% for m in messages %}{% set c = m.content %}[{{ c | trim }}|{{ c.strip() }}|{{ c.lstrip() }}|{{ c.rstrip() }}|{{ c.split() | join('_') }}|"
              "{{ c.split(None, 1) | join('_') }}|{{ c.rsplit(None, 1) | join('_') }}|{{ c | trim('a' ~ c[0]) }}|{{ c | trim(chars='b') }}|"
              "{{ c[0].isspace() }}]{% endfor %}")
    spaces = [chr(i) for i in range(1, 0x3100) if chr(i).isspace() or unicodedata.category(chr(i))[0] in "ZC"]
    assert len(spaces) > 60 and "\x1c" in spaces and "\u200b" in spaces
    messages = [{"role": "user", "content": f"{c}{c}a {c}b{c}c{c}"} for c in spaces]
    special = {"eos_token": "</s>"}
    case = {"name": "white space", "template": "white space", "source": source, "messages": messages, "tools": None,
            "arguments": {}, "prompt": False, "added": [["</s>", True]], "config": special}
    case |= golden.render(source, messages, None, special, {}, False)
    case.pop("blocks", None)
    assert "text" in case
    run([case], tmp_path)


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent")
def test_shared_tokenizers_give_the_same_ids_on_shared_and_on_random_text(tmp_path):
    run(golden.tokenizer_cases(DATA, golden.CORPUS + shared_text() + random_text(400)), tmp_path)
