// at::parallel_for. Compiled without OpenMP it is a plain loop that says nothing, so rooms reach it through here only.
#pragma once

#ifndef _OPENMP
#error "a room that shares loops out over threads is named PARALLEL in CMakeLists.txt"
#endif

#include <ATen/Parallel.h>
