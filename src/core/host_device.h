// Functions that the host and a CUDA kernel both compile: formulas whose results must be the same on both.
#pragma once

#ifdef __CUDACC__
#define PRENTICE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define PRENTICE_HOST_DEVICE inline
#endif
