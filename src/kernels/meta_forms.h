// Forms for `meta` tensors of those ATen operations whose shape rules LibTorch keeps in Python, so that a whole forward
// and backward pass runs without memory. Separate because they are of ATen and not of this program.
#pragma once

namespace prentice {

// Registers them, once; calls after the first do nothing. Whoever makes `meta` tensors calls it before the first pass.
void register_meta_forms();

// While one lives, this thread's `meta` tensors stand for those of a CPU, where it says so: some operations hold other
// copies there than on a GPU.
class MetaStandsForCpu {
 public:
  explicit MetaStandsForCpu(bool yes);
  ~MetaStandsForCpu();
  MetaStandsForCpu(const MetaStandsForCpu&) = delete;
  MetaStandsForCpu& operator=(const MetaStandsForCpu&) = delete;

  static bool now();

 private:
  bool before_;
};

}  // namespace prentice
