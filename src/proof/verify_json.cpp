// verify.json.
#include <algorithm>

#include "core/utf8.h"
#include "io/json.h"
#include "proof/verify.h"

namespace prentice {

namespace {

Json::Object to_json(const DeltaSums& sums) {
  return {{"survival", sums.survival()}, {"alignment", sums.alignment()}, {"noise", sums.noise()}};
}

Json::Array to_json(const std::map<std::string, DeltaSurvival>& survivals) {
  Json::Array files;
  for (const auto& [file, survival] : survivals) {
    Json::Array tensors;
    for (const auto& tensor : survival.tensors) {
      Json::Object one{{"name", printable(tensor.tensor)}, {"type", std::string(ggml_type_info(tensor.type).name)}};
      for (auto& figure : to_json(tensor.sums)) one.push_back(std::move(figure));
      one.emplace_back("signal", tensor.signal());
      tensors.push_back(std::move(one));
    }
    Json::Object whole{{"file", printable(file)}};
    for (auto& figure : to_json(survival.total())) whole.push_back(std::move(figure));
    whole.emplace_back("signal", survival.signal());
    whole.emplace_back("tensors", std::move(tensors));
    files.push_back(std::move(whole));
  }
  return files;
}

// Null where no forward pass was made.
Json::Object figures(const LogitProof* proof) {
  const auto number = [&](double LogitProof::*member) { return proof ? Json(proof->*member) : Json(); };
  return {{"kld_mean", number(&LogitProof::kld_mean)},
          {"kld_p99", number(&LogitProof::kld_p99)},
          {"top1", number(&LogitProof::top1)},
          {"perplexity_ratio", number(&LogitProof::perplexity_ratio)}};
}

Json::Array to_json(const std::map<std::string, LogitProof>& proofs) {
  Json::Array artifacts;
  for (const auto& [artifact, proof] : proofs) {
    Json::Object one{{"artifact", printable(artifact)}, {"tokens", proof.tokens}};
    for (auto& figure : figures(&proof)) one.push_back(std::move(figure));
    one.emplace_back("largest", proof.largest);
    one.emplace_back("ends", proof.ends);
    one.emplace_back("ends_kept", proof.ends_kept);
    artifacts.push_back(std::move(one));
  }
  return artifacts;
}

}  // namespace

Json report_of(const Verification& verification) {
  Json::Array checks;
  for (const auto& check : verification.checks) {
    checks.push_back(Json::Object{{"name", printable(check.name)},
                                  {"passed", check.passed},
                                  {"value", check.value},
                                  {"limit", check.limit},
                                  {"detail", printable(check.detail)}});
  }
  Json::Object json{{"schema", 1}, {"passed", verification.passed()}, {"checks", std::move(checks)}};
  const auto worst =
      std::ranges::max_element(verification.logits, {}, [](const auto& one) { return one.second.kld_mean; });
  for (auto& figure : figures(worst == verification.logits.end() ? nullptr : &worst->second))
    json.push_back(std::move(figure));
  json.emplace_back("logits", to_json(verification.logits));
  json.emplace_back("delta_survival", to_json(verification.survivals));
  return json;
}

std::string verification_json(const Verification& verification) { return report_of(verification).dump(2) + "\n"; }

std::vector<std::string> failures(const Verification& verification) {
  std::vector<std::string> failed;
  for (const auto& check : verification.checks) {
    if (!check.passed) failed.push_back(printable(check.name + ": " + check.detail));
  }
  return failed;
}

}  // namespace prentice
