// report.html: one self-contained page about a run, for people who were not there. All text is escaped; no scripts,
// nothing is fetched.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace prentice {

struct Curve {
  std::string title;                              // "loss"
  std::vector<std::pair<double, double>> points;  // (step, value), ascending steps
};

struct ReportTable {
  std::string title;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

struct Report {
  std::string title;                                          // "quickstart"
  std::string subtitle;                                       // one sentence: what was made of what
  std::vector<std::pair<std::string, std::string>> headline;  // big figures: label, value
  std::vector<Curve> curves;
  std::vector<ReportTable> tables;  // examples before and after, files with hashes, settings
};

std::string to_html(const Report&);

// Points of `key` in a metrics.jsonl, by step; lines without it and a torn last line are skipped.
Curve read_curve(const std::filesystem::path& metrics_jsonl, const std::string& key);

}  // namespace prentice
