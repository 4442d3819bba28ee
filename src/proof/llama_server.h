// A running llama-server as a witness: it is asked over plain HTTP at the address that a recipe names, and nowhere
// else.
#pragma once

#include <string>
#include <string_view>

#include "proof/witness.h"

namespace prentice {

// llama-server since December 2024, which gives log-probabilities by token id; of a GGUF adapter, started with --lora.
// `address`: http://HOST:PORT. Errors, told of `key`: `usage` where nobody answers, or somebody else does; `storage`
// where it stops answering later.
CallWitness llama_server(const std::string& address, std::string_view key);

}  // namespace prentice
