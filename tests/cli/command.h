// A folder with a small model, data and the program's verbs to call in it: what the tests of the command line share.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cli/verbs.h"

namespace prentice {

namespace fs = std::filesystem;

class Command : public testing::Test {
 protected:
  void SetUp() override {
    before_ = fs::current_path();
    folder_ = fs::path(testing::TempDir()) / ("command_test_" + std::to_string(getpid()));
    fs::create_directories(folder_ / "model");
    fs::current_path(folder_);
    write("model/config.json", R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
      "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
      "vocab_size": 100, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})");
    write("tickets.csv", "text,category\n\"late, \"\"again\"\"\",delay\nlost,bag\n");
    write("rows.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
  }
  void TearDown() override {
    fs::current_path(before_);
    fs::remove_all(folder_);
  }

  static void write(const std::string& name, const std::string& text) { std::ofstream(name, std::ios::binary) << text; }

  // stdout of a command that must succeed.
  static std::string result(const std::vector<std::string>& words) {
    testing::internal::CaptureStdout();
    int status = -1;
    std::string error;
    try {
      status = run_command(parse_arguments(words));
    } catch (const Error& e) {
      error = e.what();
    }
    const std::string out = testing::internal::GetCapturedStdout();
    EXPECT_EQ(status, 0) << error;
    return out;
  }

  // "exit N: message | hint" of a command that must fail.
  static std::string failure(const std::vector<std::string>& words) {
    testing::internal::CaptureStdout();
    std::string text = "no error";
    try {
      run_command(parse_arguments(words));
    } catch (const Error& error) {
      const auto& first = error.diagnostics().front();
      text = "exit " + std::to_string(static_cast<int>(error.code())) + ": " + to_string(first);
      if (!first.hint.empty()) text += " | " + first.hint;
    }
    testing::internal::GetCapturedStdout();
    return text;
  }

  fs::path before_, folder_;
};

}  // namespace prentice
