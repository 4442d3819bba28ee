// Which tensors of a model train. Separate from attaching because a model without an adapter trains too.
#pragma once

#include "config/schema.h"
#include "core/tensor.h"
#include "model/model.h"

namespace prentice {

// The tensors that train, requires_grad set: the adapter's (PEFT's names without the base_model.model. prefix), or with
// AdapterKind::full every weight of the model in f32, by its Hugging Face name. Parts of a joined projection are the
// leaves and stay views of the joined storage. Calling it again gives the same tensors.
NamedTensors trainable(Model&, const AdapterSection&);

// Embedding and head that may wait on the host while such an adapter trains on such a model: those that are dense, do
// not train and have no adapter on them. A head of scores is a row.
HostEnds frozen_ends(const ModelSpec&, Quantize, const AdapterSection&);

}  // namespace prentice
