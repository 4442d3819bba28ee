// What the user asked for, once words and files are read: the one argument that verbs hand to the recipe programs.
#pragma once

#include <string>

#include "config/node.h"

namespace prentice {

struct Invocation {
  std::string verb;     // "run", "plan", ...; for a kind as verb: "run"
  std::string kind;     // the recipe's kind: "sft", ...
  std::string file;     // the recipe file as typed; "" when everything came from the command line
  std::string command;  // the whole command as typed, for run.json
  Node recipe;          // the file, its base and the command line's overrides laid over it; read_recipe<R> binds it

  bool json = false;         // one JSON object to stdout
  bool quiet = false;        // no progress
  bool fresh = false;        // move what is in run.out aside
  bool inner = false;        // a part of other work (a step, the second run of repro), which tells its end
  std::string pipeline;      // the run id of the pipeline this is a step of
  bool trust_store = false;  // open teacher stores without reading them through for their hashes first
  bool provenance = false;   // verify: also what the artifact says of where it comes from
  bool chat = false;         // generate: a conversation in the terminal
  int rows = 10;             // audit --rows: how many training rows to show
};

}  // namespace prentice
