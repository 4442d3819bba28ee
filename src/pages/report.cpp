#include "pages/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/lines.h"

namespace prentice {

namespace {

constexpr const char* kStyle = R"(
:root{--ink:#1c2430;--soft:#5d6b7c;--line:#e3e8ee;--accent:#0b6e6e;--paper:#fff;--wash:#f6f8fa}
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf1;--soft:#9aa7b6;--line:#2b3542;--accent:#4fc3b8;--paper:#12171e;--wash:#1a212b}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1040px;margin:0 auto;padding:40px 24px 80px}h1{font-size:28px;margin:0 0 4px}h2{font-size:17px;margin:36px 0 10px}
p.sub{color:var(--soft);margin:0 0 24px}.figures{display:flex;flex-wrap:wrap;gap:12px}
.figure{background:var(--wash);border:1px solid var(--line);border-radius:8px;padding:10px 16px;min-width:130px}
.figure b{display:block;font-size:21px}.figure span{color:var(--soft);font-size:13px}
.curves{display:flex;flex-wrap:wrap;gap:16px}figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:10px 12px}
figcaption{font-size:13px;color:var(--soft)}svg text{fill:var(--soft);font-size:11px}svg .axis{stroke:var(--line)}
svg polyline{fill:none;stroke:var(--accent);stroke-width:1.8}svg circle{fill:var(--accent)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13.5px}
th{text-align:left;color:var(--soft);font-weight:600}th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
td{overflow-wrap:anywhere;white-space:pre-wrap}
)";

std::string escaped(const std::string& text) {
  std::string html;
  for (const char c : text) {
    switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      default:
        html += c;
    }
  }
  return html;
}

// A line chart with the four extreme values written at its axes: enough to read a curve without a library.
std::string chart(const Curve& curve) {
  constexpr double kWidth = 460, kHeight = 220, kLeft = 58, kRight = 10, kTop = 10, kBottom = 24;
  const auto by_value = [](const auto& a, const auto& b) { return a.second < b.second; };
  const auto [low, high] = std::minmax_element(curve.points.begin(), curve.points.end(), by_value);
  const double first = curve.points.front().first, last = curve.points.back().first;
  const double bottom = low->second, top = high->second > bottom ? high->second : bottom + 1;
  const auto x = [&](double step) {
    return kLeft + (kWidth - kLeft - kRight) * (last > first ? (step - first) / (last - first) : 0.5);
  };
  const auto y = [&](double value) { return kTop + (kHeight - kTop - kBottom) * (top - value) / (top - bottom); };
  std::string line;
  for (const auto& [step, value] : curve.points) line += fmt::format("{:.1f},{:.1f} ", x(step), y(value));
  std::string svg =
      fmt::format("<svg viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\">", kWidth, kHeight);
  svg += fmt::format("<path class=\"axis\" fill=\"none\" d=\"M{0} {1}V{2}H{3}\"/>", kLeft, kTop, kHeight - kBottom,
                     kWidth - kRight);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.4g}</text>", kLeft - 6, y(top) + 10, top);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.4g}</text>", kLeft - 6, y(bottom), bottom);
  svg += fmt::format("<text x=\"{}\" y=\"{}\">step {:.0f}</text>", kLeft, kHeight - 6, first);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.0f}</text>", kWidth - kRight, kHeight - 6, last);
  svg += curve.points.size() > 1
             ? fmt::format("<polyline points=\"{}\"/>", line)
             : fmt::format("<circle r=\"3\" cx=\"{:.1f}\" cy=\"{:.1f}\"/>", x(first), y(curve.points.front().second));
  return fmt::format("<figure><figcaption>{}: last {:.4g}</figcaption>{}</svg></figure>", escaped(curve.title),
                     curve.points.back().second, svg);
}

std::string table_html(const ReportTable& table) {
  std::string html = "<h2>" + escaped(table.title) + "</h2><div class=\"scroll\"><table><tr>";
  for (const auto& cell : table.header) html += "<th>" + escaped(cell) + "</th>";
  html += "</tr>";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (const auto& cell : row) html += "<td>" + escaped(cell) + "</td>";
    html += "</tr>";
  }
  return html + "</table></div>";
}

}  // namespace

std::string to_html(const Report& report) {
  std::string html =
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>" +
      escaped(report.title) + "</title><style>" + kStyle + "</style><main><h1>" + escaped(report.title) +
      "</h1><p class=\"sub\">" + escaped(report.subtitle) + "</p>";
  html += "<div class=\"figures\">";
  for (const auto& [label, value] : report.headline) {
    html += "<div class=\"figure\"><b>" + escaped(value) + "</b><span>" + escaped(label) + "</span></div>";
  }
  html += "</div>";
  std::string charts;
  for (const auto& curve : report.curves) {
    if (!curve.points.empty()) charts += chart(curve);
  }
  if (!charts.empty()) html += "<h2>Curves</h2><div class=\"curves\">" + charts + "</div>";
  for (const auto& table : report.tables) {
    if (!table.rows.empty()) html += table_html(table);
  }
  return html + "</main></html>\n";
}

Curve read_curve(const std::filesystem::path& metrics_jsonl, const std::string& key) {
  Curve curve{.title = key};
  if (!std::filesystem::exists(metrics_jsonl)) return curve;
  read_json_lines(metrics_jsonl, ExitCode::model, [&](const Json& record) {
    const Json* step = record.find("step");
    const Json* value = record.find(key);
    if (step && value && value->is_number() && std::isfinite(value->as_number())) {
      curve.points.emplace_back(step->as_number(), value->as_number());
    }
  });
  return curve;
}

}  // namespace prentice
