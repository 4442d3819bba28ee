// NF4 against bitsandbytes (tests/golden/quant, made by scripts/golden/nf4.py), byte for byte.
#include "quant/nf4.h"

#include <ATen/Parallel.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "core/error.h"
#include "io/safetensors.h"
#include "quant/nf4_encoder.h"

namespace prentice {
namespace {

at::ScalarType type_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return at::kFloat;
    case DType::bf16:
      return at::kBFloat16;
    case DType::f16:
      return at::kHalf;
    case DType::u8:
      return at::kByte;
    default:
      return at::kLong;
  }
}

struct Golden {
  const SafetensorsFile file = SafetensorsFile::open("tests/golden/quant/nf4.safetensors");

  Tensor at(const std::string& name) const {
    const TensorView* view = file.find(name);
    if (!view) throw std::runtime_error(name);
    Tensor copy = at::empty(view->shape, type_of(view->dtype));
    std::memcpy(copy.mutable_data_ptr(), view->bytes.data(), view->bytes.size());
    return copy;
  }
  std::set<std::string> cases() const {
    std::set<std::string> names;
    for (const auto& tensor : file.tensors()) {
      if (tensor.name != "map") names.insert(tensor.name.substr(0, tensor.name.find('.')));
    }
    return names;
  }
};

Nf4 encoded(const Tensor& values, bool nested, int64_t block = kNf4Block) {
  Nf4 made = make_nf4(values.size(0), values.size(1), nested, at::TensorOptions(values.scalar_type()), block);
  encode_nf4(values, made);
  return made;
}

Tensor decoded(const Nf4& from, at::ScalarType type) {
  Tensor values = at::empty({from.rows, from.columns}, type);
  decode_nf4(from, values);
  return values;
}

// Every bit: -0 is not 0 here.
bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

TEST(Nf4, CodesAndScalesAreThoseOfBitsandbytes) {
  const Golden golden;
  EXPECT_TRUE(same_bytes(nf4_scale_map(), golden.at("map")));
  EXPECT_EQ(golden.cases().size(), 19u);
  for (const auto& name : golden.cases()) {
    const Tensor values = golden.at(name + ".values");
    const int64_t block = golden.at(name + ".block").item<int64_t>();
    const Nf4 plain = encoded(values, false, block), nested = encoded(values, true, block);
    EXPECT_TRUE(same_bytes(plain.codes, golden.at(name + ".codes"))) << name;
    EXPECT_TRUE(same_bytes(nested.codes, plain.codes)) << name;
    EXPECT_TRUE(same_bytes(plain.absmax, golden.at(name + ".absmax"))) << name;
    EXPECT_TRUE(same_bytes(nested.absmax, golden.at(name + ".places"))) << name;
    EXPECT_TRUE(same_bytes(nested.nested_absmax, golden.at(name + ".nested_absmax"))) << name;
    EXPECT_EQ(nested.offset, golden.at(name + ".offset").item<float>()) << name;
    const auto bytes = [](const Nf4& held) {
      return held.codes.nbytes() + held.absmax.nbytes() + (held.nested() ? held.nested_absmax.nbytes() : 0);
    };
    EXPECT_EQ(nf4_bytes(plain.rows, plain.columns, false, block), static_cast<int64_t>(bytes(plain))) << name;
    EXPECT_EQ(nf4_bytes(plain.rows, plain.columns, true, block), static_cast<int64_t>(bytes(nested))) << name;
  }
}

TEST(Nf4, AFewRowsAtATimeAreThoseOfBitsandbytesToo) {
  const Golden golden;
  int64_t parts = 0;
  for (const auto& name : golden.cases()) {
    const Tensor values = golden.at(name + ".values").to(at::kFloat);
    const int64_t rows = values.size(0), columns = values.size(1), block = golden.at(name + ".block").item<int64_t>();
    const int64_t step = nf4_rows_together(columns, block);
    Nf4 made = make_nf4(rows, columns, true, at::TensorOptions(at::kFloat), block);
    Nf4Encoder encoder(made);
    for (int64_t first = 0; first < rows; first += step, ++parts) {
      const Tensor part = values.narrow(0, first, std::min(step, rows - first));
      encoder.add({part.const_data_ptr<float>(), static_cast<size_t>(part.numel())});
    }
    encoder.finish();
    EXPECT_TRUE(same_bytes(made.codes, golden.at(name + ".codes"))) << name;
    EXPECT_TRUE(same_bytes(made.absmax, golden.at(name + ".places"))) << name;
    EXPECT_TRUE(same_bytes(made.nested_absmax, golden.at(name + ".nested_absmax"))) << name;
    EXPECT_EQ(made.offset, golden.at(name + ".offset").item<float>()) << name;
  }
  EXPECT_GT(parts, 2 * static_cast<int64_t>(golden.cases().size()));
}

TEST(Nf4, WhatItStandsForIsWhatBitsandbytesComputes) {
  const Golden golden;
  for (const auto& name : golden.cases()) {
    const Tensor values = golden.at(name + ".values");
    const int64_t block = golden.at(name + ".block").item<int64_t>();
    for (const bool nested : {false, true}) {
      const Tensor want = golden.at(name + (nested ? ".nested_decoded" : ".decoded"));
      const Nf4 held = encoded(values, nested, block);
      // The mean of huge scales is infinite, and theirs not a number either.
      EXPECT_TRUE(at::allclose(decoded(held, values.scalar_type()), want, 0, 0, /*equal_nan=*/true))
          << name << ", nested " << nested;
    }
  }
}

TEST(Nf4, ARangeOfValuesIsThatPartOfTheWhole) {
  const Tensor values = at::randn({9, 37});  // 333: rows end within blocks, and within bytes
  for (const bool nested : {false, true}) {
    const Nf4 held = encoded(values, nested);
    const Tensor whole = decoded(held, at::kFloat).view({-1});
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 333},
                                       {0, 1},
                                       {1, 1},
                                       {1, 63},
                                       {63, 2},
                                       {37, 74},
                                       {111, 222},
                                       {332, 1},
                                       {129, 130},
                                       {200, 0}}) {
      Tensor part = at::empty({count}, at::kFloat);
      decode_nf4(held, first, {part.mutable_data_ptr<float>(), static_cast<size_t>(count)});
      EXPECT_TRUE(at::equal(part, whole.narrow(0, first, count))) << first << ", " << count;
    }
  }
}

TEST(Nf4, TheBytesDoNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  const Tensor values = at::randn({1537, 2049});  // 49,209 scales: LibTorch would add them up in parallel
  at::set_num_threads(1);
  const Nf4 one = encoded(values, true);
  const Tensor whole = decoded(one, at::kBFloat16);
  for (const int more : {2, 3, 5}) {
    at::set_num_threads(more);
    const Nf4 many = encoded(values, true);
    EXPECT_EQ(at::get_num_threads(), more);
    EXPECT_TRUE(same_bytes(many.codes, one.codes) && same_bytes(many.absmax, one.absmax));
    EXPECT_TRUE(same_bytes(many.nested_absmax, one.nested_absmax));
    EXPECT_EQ(many.offset, one.offset);
    EXPECT_TRUE(same_bytes(decoded(many, at::kBFloat16), whole));
  }
  at::set_num_threads(threads);
}

TEST(Nf4, WhatIsNotFiniteIsRefused) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), NAN}) {
    for (const int64_t place : {int64_t{0}, int64_t{70}, int64_t{99}}) {
      Tensor values = at::randn({10, 10});
      values.view({-1})[place] = bad;
      try {
        encoded(values, true);
        ADD_FAILURE() << bad << " at " << place;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::model);
      }
    }
  }
}

}  // namespace
}  // namespace prentice
