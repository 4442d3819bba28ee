// What the programs print for a person (stderr while they work, results on stdout), and the JSON twin of each.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/invocation.h"

namespace prentice {

struct EvalReport;
struct Products;
struct TrainEvalSets;

// Of a finished run of the same recipe and inputs: says so and returns its exit status, which a repetition does not
// change: 9, naming each gate, when its eval.json holds one that was not met. Errors: `usage`, naming it, where a file
// that the run handed over is gone or has other bytes.
int already_done(const std::filesystem::path& out, const Invocation&);
// The JSON twin of that: what was not passed, as a person reads it.
void print_done_json(const std::filesystem::path& out, const std::vector<std::string>& missed);
// Names each gate that was not met on stderr; returns the exit status, 0 or 9.
int tell_gates(const EvalReport&);
// Of a comparison that did not pass: says so on stderr; returns 9.
int tell_comparison(const std::string& summary);
// Says on stderr which checks failed; returns 0 where none did, else 9.
int tell_verification(const std::vector<std::string>& reasons);
// Says lines on stderr while a program works; nothing where that is not asked for.
std::function<void(const std::string&)> say_on_stderr(const Invocation&);
// "verified: ..." and a line per product with its size.
void print_products(const Products&, const std::filesystem::path& out, const Invocation&);

// "40 of 40 held-out rows are training rows, too: a.jsonl:1 = b.jsonl:1, ..."; "" without an overlap.
std::string overlap_warning(const TrainEvalSets&, std::string_view are = "training rows");
// On stderr, a line each: what the training rows lose on their way, and the overlap.
void print_warnings(const TrainEvalSets&);
void print_warnings(const std::vector<std::string>&);

}  // namespace prentice
