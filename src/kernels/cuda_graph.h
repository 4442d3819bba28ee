// Passes recorded as CUDA graphs, through the plug-in's table: what a device does again without being told each launch.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <string>

namespace prentice {

// Runs `pass` on the stream that graphs of `device` are recorded on, in the order of the calling thread's stream.
// Errors: those of `pass`; `internal` where the device has no such stream.
void run_on_side_stream(c10::Device device, const std::function<void()>& pass);

// Records what `pass` launches. Returns what replays it, which owns the graph and fails with `internal` where the
// device does; empty, with `reason`, where it could not be recorded: then nothing ran.
std::function<void()> record_graph(c10::Device device, const std::function<void()>& pass, std::string& reason);

}  // namespace prentice
