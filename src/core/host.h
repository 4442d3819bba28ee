// What the system says of this process and of the machine it may use: memory, cores, where the program lies, and
// whether a terminal wants colour. Separate so that each is read in one way.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace prentice {

// The machine's memory or the control group's limit (version 2, else 1), whichever is smaller, in bytes.
uint64_t host_memory_bytes();
// That limit alone; 0 when there is none, or none below the machine's memory.
uint64_t memory_limit_bytes();
// Cores that the control group (version 2, else 1) lets run at a time; 0 when there is no quota.
double quota_cores();

// A field of /proc/self/status in bytes, "VmRSS" or "RssAnon" for instance; 0 when the system does not tell it.
uint64_t process_bytes(std::string_view field);

// Gives the pages that the heap holds and nobody uses back to the system: between phases of a run, so that the memory
// of the one does not stand beside that of the next.
void release_free_memory();

// The file that runs; empty when the system does not tell.
std::filesystem::path program_file();

// Whether `descriptor` is a terminal that shows colour, and NO_COLOR is not set to anything.
bool has_colour(int descriptor);

}  // namespace prentice
