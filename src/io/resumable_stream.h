// A file of tensors that another process can go on with. Beside it, where the caller says, stands a log: a line for
// each tensor that is whole in the file, with the hash of its bytes. Separate from io/tensor_stream.h, whose files are
// whole or nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <future>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/sha256.h"
#include "io/stream_layout.h"

namespace prentice {

struct ResumeLog {
  std::filesystem::path path;  // empty: no log is kept, and nothing is gone on from
  std::string key = {};        // hash of all that decides the bytes; lines under another one count for nothing
};

// Closed when it goes.
struct Descriptor {
  int number = -1;
  Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  ~Descriptor();
};

// Neither the file nor the log is waited for (fsync) until finish(): what a power cut loses of either, the hashes find.
// A thread of its own writes and hashes what was given last while the caller makes what is next; what fails there is
// thrown by the call that follows.
class ResumableStream {
 public:
  // Opens or creates `path` and keeps of it the tensors at its front that the log names, and whose bytes are those of
  // the line: they are read through. The head is written in any case. Without a log the file must not exist. Errors
  // (all members): `storage`, with the bytes missing on a full disk; `internal` for a tensor out of turn.
  ResumableStream(const std::filesystem::path& path, StreamLayout layout, const ResumeLog& log);
  ResumableStream(const ResumableStream&) = delete;
  ~ResumableStream();  // what is not finished stays where a log tells of it, else it is removed

  size_t tensors() const { return parts_.size(); }
  // Those at the front that were there; the caller begins behind them. What was noted of each.
  size_t kept() const { return notes_.size(); }
  const std::string& note(size_t tensor) const { return notes_.at(tensor); }

  // The next tensor, whole or in consecutive parts; the note of its last part, a line, stands in the log.
  void write(std::string_view name, std::span<const std::byte> bytes, std::string_view note = {});
  void finish();  // every tensor must be complete; fsyncs

 private:
  void open_log(const ResumeLog& log);
  bool is_whole(size_t tensor, const std::string& sha256);
  void hand_over(std::optional<std::string> note);
  void put(std::span<const std::byte> bytes, uint64_t place);
  void write_line(const std::string& text);
  [[noreturn]] void fail_write(int error, uint64_t place) const;

  std::filesystem::path path_;
  std::vector<std::byte> head_;
  std::vector<TensorStream::Part> parts_;
  std::vector<std::string> notes_;
  Descriptor file_, log_;
  bool finished_ = false;
  size_t next_ = 0;
  uint64_t place_ = 0, written_of_next_ = 0;  // where `given_` goes in the file; of the next tensor
  std::vector<std::byte> given_, written_;    // not yet handed to the writer; the writer's
  std::optional<Sha256> hash_;                // the writer's, of its tensor and the padding
  std::future<void> writer_;                  // last: what it uses outlives it
};

}  // namespace prentice
