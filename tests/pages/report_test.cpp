#include "pages/report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace prentice {
namespace {

namespace fs = std::filesystem;

TEST(Report, TextOfTheDataCannotBecomeMarkup) {
  const std::string attack = "<script>alert('x')</script>\" onload=\"y";
  const Report report{.title = attack,
                      .subtitle = attack,
                      .headline = {{attack, attack}},
                      .curves = {{.title = attack, .points = {{1, 2}, {2, 1}}}},
                      .tables = {{.title = attack, .header = {attack}, .rows = {{attack}}}}};
  const std::string html = to_html(report);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("\" onload"), std::string::npos);
  EXPECT_NE(html.find("&lt;script&gt;alert(&#39;x&#39;)"), std::string::npos);
}

TEST(Report, FetchesNothing) {
  const std::string html = to_html({.title = "run", .curves = {{.title = "loss", .points = {{1, 2}}}}});
  for (const char* word : {"http:", "https:", "src=", "@import", "url("})
    EXPECT_EQ(html.find(word), std::string::npos) << word;
}

TEST(Report, ACurveSkipsTornLinesOtherKeysAndNonFiniteValues) {
  const fs::path path = fs::temp_directory_path() / ("prentice_report_" + std::to_string(getpid()) + ".jsonl");
  std::ofstream(path) << R"({"step": 1, "loss": 2.5})"
                      << "\n"
                      << R"({"step": 1, "eval.loss": 9})"
                      << "\n"
                      << R"({"step": 2, "loss": null})"
                      << "\n"
                      << R"({"step": 3, "loss": 1.25})"
                      << "\n"
                      << R"({"step": 4, "loss": 0.)";
  const Curve curve = read_curve(path, "loss");
  fs::remove(path);
  const std::vector<std::pair<double, double>> expected = {{1, 2.5}, {3, 1.25}};
  EXPECT_EQ(curve.points, expected);
}

}  // namespace
}  // namespace prentice
