#include "serving/serving_scores.h"

#include <fmt/format.h>

#include "io/json.h"
#include "serving/serving_warnings.h"

namespace prentice {

namespace {

std::string python_string(const std::string& text) { return Json(text).dump(); }

std::string load_lines(const ServingInfo& info) {
  if (info.merged) {
    return "tokenizer = AutoTokenizer.from_pretrained(\"merged\")\n"
           "model = AutoModelForSequenceClassification.from_pretrained(\"merged\").eval()\n";
  }
  const std::string base = python_string(info.base_model);
  return fmt::format(
      "from peft import PeftModel\n\n"
      "tokenizer = AutoTokenizer.from_pretrained({0})\n"
      "base = AutoModelForSequenceClassification.from_pretrained({0}, num_labels=1)\n"
      "model = PeftModel.from_pretrained(base, \"adapter\").eval()\n",
      base);
}

// Where folder or tokenizer may pad with another token than the scores look past.
std::string padding_lines(const ServingInfo& info) {
  if (!info.pad_id) return "";
  std::string text = fmt::format("tokenizer.pad_token_id = {}\n", *info.pad_id);
  if (!info.merged) text += fmt::format("model.config.get_text_config().pad_token_id = {}\n", *info.pad_id);
  return text;
}

std::string text_lines(const ServingInfo& info) {
  if (info.has_chat_template && !info.trained_on_raw_text) {
    return "conversations = [[{\"role\": \"user\", \"content\": \"...\"}, {\"role\": \"assistant\", \"content\": "
           "\"...\"}]]\n"
           "texts = [tokenizer.apply_chat_template(c, tokenize=False) for c in conversations]\n"
           "batch = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors=\"pt\")\n";
  }
  return "texts = [\"PROMPT\" + \"ANSWER\" + tokenizer.eos_token]\n"
         "batch = tokenizer(texts, padding=True, return_tensors=\"pt\")\n";
}

}  // namespace

std::string scores_markdown(const ServingInfo& info) {
  std::string text = "# Scoring with " + markdown_text(info.name) +
                     "\n\nA reward model: one score a text, and the greater one is the better answer. Only differences "
                     "between answers to one question mean something.\n\n";
  text += warning_quotes(info) +
          tokenizer_quote(info,
                          "the model was trained with, and so another score. "
                          "`PreTrainedTokenizerFast(tokenizer_file=...)` gives those of `tokenizer.json`.");
  text +=
      "In the folder that holds `serve/`, with transformers:\n\n```python\nimport torch\n"
      "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n" +
      load_lines(info) + padding_lines(info) + text_lines(info) +
      "with torch.no_grad():\n    scores = model(**batch).logits[:, 0]\n```\n\n";
  if (!info.pad_id) text += "It has no padding token: score one text at a time.\n\n";
  text +=
      "The score is read at the last token that is not padding, so a text must end as the training's did: with the "
      "end of the answer's turn, or the end token. transformers' `text-classification` pipeline gives the score as "
      "it is with `function_to_apply=\"none\"`.\n\n";
  return text + "## Check what was received\n\n```\nsha256sum -c SHA256SUMS\n```\n";
}

}  // namespace prentice
