#include "kernels/cuda_graph.h"

#include <memory>

#include "core/error.h"
#include "kernels/cuda_plugin.h"

namespace prentice {

namespace {

void require(int status, const char* what) {
  if (status != 0) fail(ExitCode::internal, std::string(what) + ": " + cuda()->last_error());
}

// The stream of recordings is the thread's own as long as this lives.
class OnSideStream {
 public:
  explicit OnSideStream(int device) : device_(device) { require(cuda()->side_stream_enter(device), "a CUDA stream"); }
  ~OnSideStream() { cuda()->side_stream_leave(device_); }
  OnSideStream(const OnSideStream&) = delete;

 private:
  int device_;
};

}  // namespace

void run_on_side_stream(c10::Device device, const std::function<void()>& pass) {
  const OnSideStream side(device.index());
  pass();
}

std::function<void()> record_graph(c10::Device device, const std::function<void()>& pass, std::string& reason) {
  std::function<void()> kept = pass;
  const OnSideStream side(device.index());
  void* made = cuda()->graph_record(
      device.index(), [](void* argument) { (*static_cast<std::function<void()>*>(argument))(); }, &kept);
  if (!made) {
    reason = cuda()->last_error();
    return {};
  }
  const std::shared_ptr<void> graph(made, [](void* recorded) { cuda()->graph_forget(recorded); });
  return [graph] { require(cuda()->graph_replay(graph.get()), "a CUDA graph"); };
}

}  // namespace prentice
