#!/usr/bin/env python3
"""Writes tests/golden/data/masks.json: which tokens transformers trains (assistant masks of templates with generation
blocks) and which TRL trains of prompt and completion (everything after the prompt's own tokens), on the quickstart's
tokenizer.

usage: scripts/golden/data.py
"""
import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "data/quickstart/tokenizer/tokenizer.json"
OUT = ROOT / "tests/golden/data/masks.json"

# The end of a turn lies inside the block, the line break after it outside.
TEMPLATES = {
    "flat": "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|end|>"
            "{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "lines": "{%- if messages[0].role != 'system' %}<|system|>\nYou help in an office.<|end|>\n{% endif %}"
             "{%- for m in messages %}{{- '<|' + m.role + '|>\n' }}{%- if m.role == 'assistant' %}{% generation %}"
             "{{- m.content | trim }}{%- for call in m.tool_calls or [] %}{{- '\nCALL ' + (call.function | tojson) }}{%- endfor %}"
             "{{- '<|end|>' }}{% endgeneration %}{{- '\n' }}{%- else %}{{- m.content | trim + '<|end|>\n' }}{%- endif %}"
             "{%- endfor %}{%- if add_generation_prompt %}{{- '<|assistant|>\n' }}{%- endif %}",
}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


CALL = [{"type": "function", "function": {"name": "book", "arguments": {"room": "B 12", "hours": [9, 10]}}}]
CONVERSATIONS = {
    "one turn": [say("user", "Where is my parcel?"), say("assistant", "late-delivery")],
    "three turns": [say("system", "Be brief."), say("user", "Hello"), say("assistant", "Good morning!"), say("user", "Two words?"),
                    say("assistant", "Of course: yes, no."), say("user", "Thanks"), say("assistant", "Bye")],
    "other alphabets": [say("user", "Zo\u00eb asks \u65e5\u672c\u8a9e?"), say("assistant", "\u2713 \U0001f600 na\u00efve caf\u00e9"), say("user", "?"), say("assistant", "\u00e9")],
    "same words": [say("user", "yes yes"), say("assistant", "yes"), say("user", "yes"), say("assistant", "yes yes")],
    "punctuation": [say("user", "1,234.5?\n\n- a\n- b"), say("assistant", "\"Quoted\"\n\n1. one\n2. two"), say("user", "("), say("assistant", ")")],
}
TOOL_TURNS = [say("user", "Book a room"), say("assistant", "At once.", tool_calls=CALL), say("tool", "{\"ok\": true}"), say("assistant", "Done.")]

PAIRS = [("Where is my parcel?\nTopic:", " late-delivery"), ("", "only a completion"), ("Name: ", "Zo\u00eb \U0001f600"),
         ("a\n", "b"), ("I paid twice\n\n### Answer\n", "billing-dispute"), ("2+2=", "4"), ("I paid ", "the bill")]


def masked(tokenizer, template, messages):
    out = tokenizer.apply_chat_template(messages, chat_template=TEMPLATES[template], tokenize=True, return_dict=True,
                                        return_assistant_tokens_mask=True)
    return {"template": TEMPLATES[template], "messages": messages, "ids": out["input_ids"], "mask": out["assistant_masks"]}


def prompt_completion(tokenizer, prompt, completion):
    """TRL's SFTTrainer: tokenize the prompt, tokenize both, the mask begins behind the prompt's tokens."""
    before = tokenizer(prompt)["input_ids"]
    ids = tokenizer(prompt + completion)["input_ids"] + [tokenizer.eos_token_id]
    straddles = ids[:len(before)] != before
    return {"prompt": prompt, "completion": completion, "straddles": straddles, "ids": ids, "mask": [int(i >= len(before)) for i in range(len(ids))]}


def main():
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(TOKENIZER), eos_token="<|end|>", clean_up_tokenization_spaces=False)
    chats = {f"{template}, {name}": masked(tokenizer, template, messages)
             for template in TEMPLATES for name, messages in CONVERSATIONS.items()}
    chats["lines, tool turns"] = masked(tokenizer, "lines", TOOL_TURNS)
    pairs = [prompt_completion(tokenizer, *pair) for pair in PAIRS]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'"{name}": {json.dumps(case)}' for name, case in chats.items()]
    OUT.write_text('{"chats": {\n' + ",\n".join(lines) + '},\n"pairs": [\n' + ",\n".join(map(json.dumps, pairs)) + "]}\n")


if __name__ == "__main__":
    main()
