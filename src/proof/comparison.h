// The comparison of stored tensors with the values they were made from.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "io/gguf.h"
#include "proof/check.h"

namespace prentice {

// Collects over all tensors; reports the worst one.
class Comparison {
 public:
  void missing(const std::string& tensor) { problem("tensors", tensor + " is missing"); }
  void extra(const std::string& tensor) { problem("tensors", tensor + " does not belong here"); }
  void layout(const std::string& tensor, bool equal) {
    if (!equal) problem("types and shapes", tensor + " has another type or shape");
  }
  // A weight that is stored as several tensors, and what nf4_fault says of them.
  void parts(const std::string& tensor, const std::string& fault) {
    if (!fault.empty()) problem("types and shapes", tensor + ": " + fault);
  }

  // The tensor of a GGUF file where it has the declared type and shape; else nullptr, and the difference is noted.
  const GgufTensorView* find(const GgufReader&, const GgufTensorInfo& declared);
  // Every tensor of the file that nobody looked for is one too many.
  void no_others(const GgufReader&);

  // Compares one block of rows; errors are measured in units of what rounding explains, and blocks must be those that
  // the values become again, with the importance that the writer had.
  void values(const std::string& tensor, std::span<const float> wanted, std::span<const std::byte> stored,
              GgmlType type, std::span<const float> importance = {});

  std::vector<Check> set_checks() const;  // without values: which tensors there are, of which type and shape
  std::vector<Check> checks() const;

 private:
  void problem(const char* check, std::string text) { problems_[check].push_back(std::move(text)); }
  std::map<std::string, std::vector<std::string>> problems_;
  std::set<std::string> declared_;
  std::vector<float> bounds_, found_;
  std::vector<std::byte> again_;
  std::set<std::string> compared_blocks_, other_blocks_;  // tensors
  std::string worst_tensor_;
  double worst_ = 0;
};

}  // namespace prentice
