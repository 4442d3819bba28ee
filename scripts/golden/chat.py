#!/usr/bin/env python3
"""Writes tests/golden/text/chat.json (conversations, and the special tokens of the families) and
tests/golden/text/spans/FAMILY.txt: each conversation as transformers renders it, what the assistant must write between
U+27E6 and U+27E7. The spans are found by the words that make the assistant speak and the token that ends its turn,
which stand below for each family; no span of the program is used. tests/oracle/test_text.py checks both.

usage: scripts/golden/chat.py
"""
import json
import re
from pathlib import Path

import text as golden

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/golden/text"
OPEN, CLOSE = "\u27e6", "\u27e7"

USER, ANSWER = golden.USER, golden.ANSWER
CONVERSATIONS = golden.CONVERSATIONS | {
    "unicode": ([{"role": "user", "content": "\u0645\u0631\u062d\u0628\u0627 \u4f60\u597d e\u0323\u0302 \U0001f469\u200d\U0001f469\u200d\U0001f467"},
                 {"role": "assistant", "content": "\u05e9\u05dc\u05d5\u05dd\u3002 \u0928\u092e\u0938\u094d\u0924\u0947 \U0001f680"}], None),
    "three turns": ([{"role": "system", "content": "Be kind."}, USER, ANSWER, {"role": "user", "content": "And then?"},
                     {"role": "assistant", "content": "Then home."}, {"role": "user", "content": "Bye"},
                     {"role": "assistant", "content": "Bye"}], None),
    "trailing spaces": ([{"role": "system", "content": "Short. \n"}, {"role": "user", "content": "a \t"},
                         {"role": "assistant", "content": "b  "}, {"role": "user", "content": "c\n\n"},
                         {"role": "assistant", "content": "d \n"}], None),
    "braces": ([{"role": "user", "content": "What is {{ x }} or {% if y %}?"},
                {"role": "assistant", "content": "{\"a\": \"b\\n\", 'c': <d> & e}"}], None),
    "call before the last question": (
        [{"role": "system", "content": "S"}, USER,
         {"role": "assistant", "content": "", "tool_calls": [golden.call("get_weather", {"city": "Oslo"})]},
         {"role": "tool", "name": "get_weather", "content": "warm"}, {"role": "assistant", "content": "Warm."},
         {"role": "user", "content": "Thanks"}, {"role": "assistant", "content": "Bye"}], golden.TOOLS),
    "asked again": ([USER, ANSWER, {"role": "user", "content": "And now?"}], None),
}

END_OF_TEXT = "<|endoftext|>"
# name: (template: one of configs/chat or of TRL; BOS, EOS; what makes the assistant speak, as a pattern; end of its turn)
FAMILIES = {
    "llama-2": ("llama-2.jinja", "<s>", "</s>", r"\[/INST\]", "</s>"),
    "mistral-v0.3": ("mistral-v0.3.jinja", "<s>", "</s>", r"(?:\[/INST\]|\[/TOOL_RESULTS\](?!\[TOOL_RESULTS))", "</s>"),
    "llama-3": ("llama-3.jinja", "<|begin_of_text|>", "<|eot_id|>", r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n", "<|eot_id|>"),
    "gemma": ("gemma.jinja", "<bos>", "<eos>", r"<start_of_turn>model\n", "<end_of_turn>"),
    "phi-2": ("phi-2.jinja", None, END_OF_TEXT, "Output:", END_OF_TEXT),
    "phi-4-mini": ("phi-4-mini.jinja", None, END_OF_TEXT, r"<\|assistant\|>", "<|end|>"),
    "phi-4": ("phi-4.jinja", None, "<|im_end|>", r"<\|im_start\|>assistant<\|im_sep\|>", "<|im_end|>"),
    "stablelm-2-zephyr": ("stablelm-2-zephyr.jinja", None, END_OF_TEXT, r"<\|assistant\|>\n", END_OF_TEXT),
    "chatml": ("chatml.jinja", None, "<|im_end|>", r"<\|im_start\|>assistant\n", "<|im_end|>"),
    "plain": ("plain.jinja", "<s>", "</s>", "Assistant:", "</s>"),
    "llama-3-instruct": ("trl/llama3", "<|begin_of_text|>", "<|eot_id|>", r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n", "<|eot_id|>"),
    "llama-3.1-instruct": ("trl/llama3_1", "<|begin_of_text|>", "<|eot_id|>", r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n", "<|eot_id|>"),
    "llama-3.2-instruct": ("trl/llama3_2", "<|begin_of_text|>", "<|eot_id|>", r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n", "<|eot_id|>"),
    "qwen2.5": ("trl/qwen2_5", None, "<|im_end|>", r"<\|im_start\|>assistant\n", "<|im_end|>"),
    "qwen3": ("trl/qwen3", None, "<|im_end|>", r"<\|im_start\|>assistant\n", "<|im_end|>"),
    "gemma-it": ("trl/gemma", "<bos>", "<eos>", r"<start_of_turn>model\n", "<end_of_turn>"),
    "gemma-3": ("trl/gemma3", "<bos>", "<eos>", r"<start_of_turn>model\n", "<end_of_turn>"),
    "phi-3": ("trl/phi3", "<s>", END_OF_TEXT, r"<\|assistant\|>\n", "<|end|>"),
    "phi-3.5": ("trl/phi3_5", "<s>", END_OF_TEXT, r"<\|assistant\|>\n", "<|end|>"),
}


def source(name):
    where = FAMILIES[name][0]
    if not where.startswith("trl/"):
        return (ROOT / "configs/chat" / where).read_text()
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{where[4:]}.jinja").read_text()


def special_tokens(name):
    _, bos, eos, _, _ = FAMILIES[name]
    return {key: value for key, value in (("bos_token", bos), ("eos_token", eos)) if value}


def added_tokens(name):
    """[token, special], the end of a turn first."""
    _, bos, eos, _, end = FAMILIES[name]
    return [[token, True] for token in dict.fromkeys(token for token in (end, eos, bos) if token)]


def leaves_out_calls(template, messages):
    return "tool_calls" not in template and any("tool_calls" in message for message in messages)


def spans_of(name, text, messages):
    """[message, begin, end] in characters, of every assistant turn."""
    _, _, _, speak, end = FAMILIES[name]
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    found = [match.span(1) for match in re.finditer(f"{speak}(.*?{re.escape(end)})", text, re.DOTALL)]
    assert len(found) == len(turns), (name, text)
    return [[turn, *span] for turn, span in zip(turns, found)]


def cases_of(name):
    """For the program's test: every conversation, with and without the generation prompt."""
    template, cases = source(name), []
    for title, (messages, tools) in CONVERSATIONS.items():
        for prompt in (False, True):
            case = {"name": f"{name}: {title}{', asked' if prompt else ''}", "template": name, "source": template,
                    "added": added_tokens(name), "config": special_tokens(name), "messages": messages, "tools": tools,
                    "arguments": {}, "prompt": prompt}
            case |= golden.render(template, messages, tools, special_tokens(name), {}, prompt)
            case.pop("blocks", None)
            if "text" in case and not prompt and not leaves_out_calls(template, messages):
                case["spans"] = [[turn, case["text"][a:b]] for turn, a, b in spans_of(name, case["text"], messages)]
            cases.append(case)
    return cases


def shown(name):
    """The text of spans/NAME.txt."""
    template, out = source(name), []
    for title, (messages, tools) in CONVERSATIONS.items():
        if leaves_out_calls(template, messages):
            continue
        asked = messages[-1]["role"] == "user"
        rendered = golden.render(template, messages, tools, special_tokens(name), {}, asked)
        text, end = rendered.get("text"), 0
        pieces = []
        for _, a, b in spans_of(name, text, messages) if text else []:
            pieces += [text[end:a], OPEN, text[a:b], CLOSE]
            end = b
        out.append(f"== {title}\n" + ("refused" if text is None else "".join(pieces) + text[end:]) + "\n")
    return "".join(out)


def main():
    shipped = {name: {"added": added_tokens(name), "config": special_tokens(name)}
               for name in FAMILIES if not FAMILIES[name][0].startswith("trl/")}
    conversations = {title: {"messages": messages, "tools": tools} for title, (messages, tools) in CONVERSATIONS.items()}
    rows = ",\n".join(f"{json.dumps(title)}: {json.dumps(value)}" for title, value in conversations.items())
    (OUT / "chat.json").write_text(f'{{"templates": {json.dumps(shipped, indent=1)},\n"conversations": {{\n{rows}\n}}}}\n')
    (OUT / "spans").mkdir(exist_ok=True)
    for name in FAMILIES:
        (OUT / "spans" / f"{name}.txt").write_text(shown(name))


if __name__ == "__main__":
    main()
