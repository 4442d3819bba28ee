// A vocabulary with more rows than the model's files have: shapes, loading, and where new tokens start.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "model/model.h"

namespace prentice {

// The spec with `rows` rows in embedding, head and head bias; its config.json says so too.
ModelSpec with_vocabulary(ModelSpec spec, int64_t rows);

// As load_model, with at least `rows` rows of the vocabulary: those that the files lack are zero, until an adapter that
// holds them or start_rows fills them. Errors: those of load_model.
Model load_model(const std::filesystem::path& folder, const LoadOptions&, int64_t rows);

// Embedding, head and head bias (where the head is the vocabulary's) of the tokens `ids` become the mean of the rows
// [0, known), computed in f32: with it no known token's probability falls by more than a factor of known / (known +
// new) (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"). transformers' mean_resizing
// draws from a normal distribution of this mean and 1e-9 of the covariance; here nothing is drawn.
void start_rows(Model&, std::span<const int32_t> ids, int64_t known);

}  // namespace prentice
