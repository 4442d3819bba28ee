// Which tokens end an answer: what generation, evaluation and the self-test of a served file share.
#pragma once

#include <cstdint>
#include <vector>

#include "artifact/artifact.h"
#include "model/spec.h"
#include "text/tokenizer.h"

namespace prentice {

// generation_config.json's eos_token_id (one or a list) if the folder has one, else config.json's; the tokenizer's own
// EOS, which ends a turn in chat models, always counts. Ascending.
std::vector<int32_t> stop_token_ids(const Artifact&, const ModelSpec&, const Tokenizer&);

}  // namespace prentice
