// Quantization-aware training (adapter.qat): a model whose adapter trains against the GGUF file that will be served,
// every matrix of it as that file holds it. Which type each gets is the caller's to say (export/gguf_model.h).
#pragma once

#include "model/model.h"
#include "nn/served_weight.h"

namespace prentice {

// From here on products read what the file will hold: frozen matrices, the embedding and the head among them, are
// encoded now and once, those with an adapter whenever its factors change. The weights under adapters stay, of the rest
// only the file's form is kept. Errors: `usage` for an adapter that such a file cannot train (modules saved whole,
// magnitudes, PiSSA, embedding or head adapted, dropout), those of encode().
void train_as_served(Model&, const ServedTypes&);

}  // namespace prentice
