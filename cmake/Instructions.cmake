# Block encoders give the bytes of ggml's reference on every processor: no multiply and add may become one rounding, and
# what is written for a processor's vectors stands in a file of its own, which only runs where that processor is.
target_compile_options(prentice_quant PRIVATE -ffp-contract=off -fno-math-errno)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(src/quant/search_avx2.cpp PROPERTIES COMPILE_OPTIONS "-mavx2")
  set_source_files_properties(src/quant/search_avx512.cpp PROPERTIES COMPILE_OPTIONS
                              "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl")
endif()
# The same of what the CUDA kernel computes in separately rounded operations.
set_source_files_properties(src/kernels/adamw_8bit.cpp PROPERTIES COMPILE_OPTIONS "-ffp-contract=off;-fno-math-errno")
