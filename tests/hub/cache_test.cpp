#include "hub/cache.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <map>

#include "hub/transfer.h"
#include "io/scratch.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

// Exactly these of the variables that say where the cache lies, until the end of the test.
class Variables {
 public:
  explicit Variables(const std::map<std::string, std::string>& wanted) {
    for (const char* name : {"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HOME"}) {
      const char* value = ::getenv(name);
      if (value) before_[name] = value;
      const auto found = wanted.find(name);
      found == wanted.end() ? ::unsetenv(name) : ::setenv(name, found->second.c_str(), 1);
    }
  }
  ~Variables() {
    for (const char* name : {"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HOME"}) {
      const auto found = before_.find(name);
      found == before_.end() ? ::unsetenv(name) : ::setenv(name, found->second.c_str(), 1);
    }
  }

 private:
  std::map<std::string, std::string> before_;
};

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

TEST(HubCache, LiesWhereHuggingFaceHubPutsIt) {
  const std::pair<std::map<std::string, std::string>, std::string> cases[] = {
      {{{"HOME", "/u"}}, "/u/.cache/huggingface/hub"},
      {{{"HOME", "/u"}, {"XDG_CACHE_HOME", "/x"}}, "/x/huggingface/hub"},
      {{{"HOME", "/u"}, {"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "/h"}}, "/h/hub"},
      {{{"HOME", "/u"}, {"HF_HOME", "~/h"}}, "/u/h/hub"},
      {{{"HOME", "/u"}, {"HF_HOME", "/h"}, {"HUGGINGFACE_HUB_CACHE", "/old"}}, "/old"},
      {{{"HOME", "/u"}, {"HF_HUB_CACHE", "/c"}, {"HUGGINGFACE_HUB_CACHE", "/old"}}, "/c"},
      {{}, ""},
  };
  for (const auto& [set, folder] : cases) {
    const Variables variables(set);
    EXPECT_EQ(hub_cache_folder(), folder);
  }
}

TEST(HubCache, NamesAreOrganisationAndModel) {
  for (const char* name : {"acme/tiny", "Acme-AI/Tiny-1.5B_chat", "a/b"}) EXPECT_TRUE(is_hub_name(name)) << name;
  for (const char* name : {"tiny", "/tiny", "acme/", "a/b/c", "./tiny", "../tiny", "~/tiny", "acme/..", "a--b/c",
                           "acme/x y", "acme/tiny+adapter", "acme/tiny@2", "", "/"})
    EXPECT_FALSE(is_hub_name(name)) << name;
}

TEST(HubCache, TheSnapshotIsTheOneThatMainNames) {
  const Scratch scratch;
  const Variables variables({{"HF_HUB_CACHE", scratch.path().string()}});
  const fs::path model = scratch / "models--acme--tiny";
  EXPECT_TRUE(cached_snapshot("acme/tiny").empty());
  EXPECT_EQ(missing_model_hint("acme/tiny"), "prentice download acme/tiny");
  write(model / "snapshots/abc/config.json", "{}");
  EXPECT_TRUE(cached_snapshot("acme/tiny").empty());  // another revision alone
  EXPECT_EQ(missing_model_hint("acme/tiny"), "prentice download acme/tiny (the cache holds another revision: " +
                                                 (model / "snapshots/abc").string() + ")");
  write(model / "refs/main", "abc\n");
  EXPECT_EQ(cached_snapshot("acme/tiny"), model / "snapshots/abc");
  write(model / "refs/main", "def");  // named, but not there
  EXPECT_TRUE(cached_snapshot("acme/tiny").empty());
  write(model / "snapshots/def/adapter_config.json", "{}");
  EXPECT_EQ(cached_snapshot("acme/tiny"), model / "snapshots/def");
  write(model / "refs/main", "../../../elsewhere");  // leads out of the cache
  EXPECT_TRUE(cached_snapshot("acme/tiny").empty());
  EXPECT_TRUE(cached_snapshot("../tiny").empty());
}

TEST(HubTransfer, AServerIsSchemeHostAndPort) {
  EXPECT_EQ(origin_of("https://a.b:8080/x/y?z#w"), "https://a.b:8080");
  EXPECT_EQ(origin_of("https://a.b?x=/"), "https://a.b");
  EXPECT_EQ(origin_of("http://a.b"), "http://a.b");
}

}  // namespace
}  // namespace prentice
