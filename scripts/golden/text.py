#!/usr/bin/env python3
"""Writes tests/golden/text/{templates,tokenizers}.json: what transformers, tokenizers and SentencePiece make of our own
small templates and of a short corpus. tests/oracle/test_text.py calls the same functions on more.

usage: scripts/golden/text.py [SHARED_DATA]
"""
import datetime
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/golden/text"

DATE = datetime.datetime(2024, 7, 26)

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city <now> & \"later\"",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
        },
    }
]


def call(name, arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


USER = {"role": "user", "content": "Hi there"}
ANSWER = {"role": "assistant", "content": "Hello! \U0001f999 caf\u00e9"}
CONVERSATIONS = {
    "single": ([USER, ANSWER], None),
    "multi": ([USER, ANSWER, {"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hi there"}], None),
    "system": ([{"role": "system", "content": " You are terse. "}, USER, ANSWER], None),
    "spaces": ([{"role": "user", "content": " a \n"}, {"role": "assistant", "content": "\n  two\nlines \n"}], None),
    "empty": ([USER, {"role": "assistant", "content": ""}, USER, ANSWER], None),
    "one letter": ([USER, {"role": "assistant", "content": "A"}], None),
    "question only": ([USER], None),
    "thinking": ([USER, {"role": "assistant", "content": "<think>\nearly\n</think>\n\nfirst"}, USER,
                  {"role": "assistant", "content": "<think>\nwell\n</think>\n\nsecond"}], None),
    "reasoning": ([USER, {"role": "assistant", "reasoning_content": "hm, hm", "content": "done"}], None),
    "tools": ([USER, ANSWER], TOOLS),
    "tool call": ([USER, {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"city": "Oslo", "days": 2})]},
                   {"role": "tool", "name": "get_weather", "content": "{\"t\": -3}"}, {"role": "assistant", "content": "Cold."}], TOOLS),
    "two calls": ([{"role": "system", "content": "S"}, USER,
                   {"role": "assistant", "content": "Let me see", "tool_calls": [call("get_weather", {"city": "A"}), call("get_weather", {"city": "B", "days": 1})]},
                   {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}, {"role": "assistant", "content": "So."}], TOOLS),
    "number call": ([USER, {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"days": 2})]},
                     {"role": "tool", "content": "x"}, {"role": "assistant", "content": "ok"}], TOOLS),
}

OPTIONS = {"": {}, "no thinking": {"enable_thinking": False}, "dated": {"date_string": "01 Jan 2025"}}


def render(source, messages, tools, special, arguments, prompt):
    """(text, character ranges of {% generation %} blocks), or the template's own error message."""
    import jinja2
    import transformers.utils.chat_template_utils as hf

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return DATE

    hf.datetime = Clock
    try:
        texts, blocks = hf.render_jinja_template(
            conversations=[messages], tools=tools, chat_template=source, return_assistant_tokens_mask=True,
            add_generation_prompt=prompt, **special, **arguments)
        return {"text": texts[0], "blocks": [list(b) for b in (blocks[0] if blocks else [])]}
    except (jinja2.exceptions.TemplateError, TypeError) as error:
        return {"error": str(error)}


def template_cases(name, source, special, options=OPTIONS):
    cases = []
    for title, (messages, tools) in CONVERSATIONS.items():
        for option, arguments in options.items():
            for prompt in (False, True):
                case = {"name": f"{name}: {title}{', ' + option if option else ''}{', prompt' if prompt else ''}",
                        "template": name, "messages": messages, "tools": tools, "arguments": arguments, "prompt": prompt}
                case |= render(source, messages, tools, special, arguments, prompt)
                cases.append(case)
    return cases


CORPUS = [
    "", " ", "  ", "\n", "\t\n \r\n", "Hello world", " Hello  world ", "Hello world\n\n\nnew", "don't I'VE we'll 'tis",
    "3 33 333 3333 3.14 1,000,000", "caf\u00e9 na\u00efve \u00fcber", "cafe\u0301 e\u0323\u0302", "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
    "\u3053\u3093\u306b\u3061\u306f \uc548\ub155", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!", "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\U0001f680 \U0001f636\u200d\U0001f32b\ufe0f \U0001f469\u200d\U0001f469\u200d\U0001f467", "\u2581 \u2581a\u2581",
    "a\u00a0b\u2003c\u180ed\u200be", "x\u0000y\u0001", "\ufeffbom", "\U0010ffff \ue000", "for (int i=0; i<10; ++i) { a[i] += 1; }",
    "https://example.org/a?b=c&d=%20#e", "<s> </s>", "<unk><s>a</s>b", "<|endoftext|>", "a<|endoftext|>b", "<|im_start|>user\nhi<|im_end|>\n",
    "<|im_start|>assistant\n<tool_call>\n{}\n</tool_call><|im_end|>", "a </s> b", "[INST] x [/INST]", "<0x41>", "fi \ufb01 \u2460 \u00bd", "Ti\u1ebfng Vi\u1ec7t",
    "a" * 70, "ab" * 40 + " " * 20 + "c", "\n" * 9, "!?!?...---***", "1\u20442 \u0661\u0662\u0663", "Z\u0336\u0321a\u0335l\u0321g\u0324o\u0338",
]


def file_tokenizer_cases(name, json_path, corpus):
    """The crate's own Python binding, without truncation or padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(json_path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [row(name, text, tokenizer.encode(text).ids, tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.decode) for text in corpus]


def folder_tokenizer_cases(name, folder, corpus):
    """What transformers builds from vocab.json and merges.txt."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))

    def decode(ids, skip_special_tokens):
        return tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)

    return [row(name, text, tokenizer.encode(text), tokenizer.encode(text, add_special_tokens=False), decode) for text in corpus]


def sentencepiece_cases(name, model_path, corpus):
    """SentencePiece itself, on text that names no special token; decoding as the library does it."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model_path))
    cases = []
    for text in corpus:
        if "\0" in text or any(token in text for token in ("<s>", "</s>", "<unk>")):
            continue
        ids = processor.encode(text)
        cases.append({"tokenizer": name, "text": text, "special": [processor.bos_id()] + ids, "plain": ids,
                      "offsets": sentencepiece_offsets(processor, text)})
    return cases


def sentencepiece_offsets(processor, text):
    """Byte ranges of the pieces."""
    proto = processor.encode(text, return_type="proto")
    return [[piece.begin, piece.end] for piece in proto.pieces]


def row(name, text, special, plain, decode):
    return {"tokenizer": name, "text": text, "special": special, "plain": plain,
            "decoded": decode(special, skip_special_tokens=False), "decoded_skip": decode(special, skip_special_tokens=True)}


def tokenizer_cases(data, corpus):
    cases = []
    for name in ("models/stories260K-hf", "models/babyllama105-hf", "tokenizers/smollm_hf_json", "tokenizers/gpt2_hf_json"):
        cases += file_tokenizer_cases(name, data / name / "tokenizer.json", corpus)
    cases += folder_tokenizer_cases("tokenizers/qwen2_bpe", data / "tokenizers/qwen2_bpe", corpus)
    for name, path in (("spm:mistral_spm", "tokenizers/mistral_spm/tokenizer.model.v1"),
                       ("spm:stories260K", "models/stories260K-hf/tokenizer.model"),
                       ("spm:babyllama105", "models/babyllama105-hf/tokenizer.model"),
                       ("spm:storyllamas_spm4096", find_model(data / "tokenizers/storyllamas_spm4096"))):
        cases += sentencepiece_cases(name, data / path, corpus)
        for case in cases:
            if case["tokenizer"] == name:
                case["file"] = str(path) if not Path(path).is_absolute() else str(Path(path).relative_to(data))
    return cases


def find_model(folder):
    return next(p for p in sorted(folder.iterdir()) if p.suffix == ".model" or ".model" in p.name)


def main():
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PRENTICE_TEST_DATA", ROOT / "../shared/data")).resolve()
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    cases = []
    for path in sorted((OUT / "templates").glob("*.jinja")) + [ROOT / "configs/chat/plain.jinja"]:
        source = path.read_text()
        options = {option: arguments for option, arguments in OPTIONS.items()
                   if not arguments or any(key in source for key in arguments)}
        cases += template_cases(path.stem, source, special, options)
    write(OUT / "templates.json", {"cases": cases})
    write(OUT / "tokenizers.json", {"cases": tokenizer_cases(data, CORPUS)})


def write(path, value):
    rows = ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in value["cases"])
    path.write_text('{"cases":[\n' + rows + "\n]}\n")
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
