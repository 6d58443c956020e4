// Macros for code that both the C++ and the CUDA compiler compile.

#pragma once

#ifdef __CUDACC__
#define HEADSPLAT_HD __host__ __device__ __forceinline__
#else
#define HEADSPLAT_HD inline __attribute__((always_inline))
#endif
