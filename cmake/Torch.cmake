# prentice::torch = libtorch_cpu and libc10, the only part the program links; the CUDA plug-in links the rest.
# Found under CMAKE_PREFIX_PATH (a LibTorch of the user's own) or under PRENTICE_VENV (set-up's).
# Not find_package(Torch): it drags in CUDA, protobuf and MKL targets that a CPU set-up does not have.
find_path(TORCH_INCLUDE_DIR ATen/core/Tensor.h
          HINTS ${PRENTICE_VENV} PATH_SUFFIXES include torch/include lib/python3.11/site-packages/torch/include
          lib/python3.12/site-packages/torch/include lib/python3.13/site-packages/torch/include NO_CMAKE_SYSTEM_PATH)
if(NOT TORCH_INCLUDE_DIR)
  message(FATAL_ERROR "LibTorch 2.11 was not found. Run scripts/setup.sh, or pass -DCMAKE_PREFIX_PATH=/path/to/libtorch")
endif()
cmake_path(GET TORCH_INCLUDE_DIR PARENT_PATH TORCH_ROOT)
file(READ ${TORCH_INCLUDE_DIR}/torch/headeronly/version.h torch_version_header)
string(REGEX MATCH "TORCH_VERSION_MAJOR ([0-9]+)" _ "${torch_version_header}")
set(torch_major ${CMAKE_MATCH_1})
string(REGEX MATCH "TORCH_VERSION_MINOR ([0-9]+)" _ "${torch_version_header}")
if(NOT "${torch_major}.${CMAKE_MATCH_1}" STREQUAL "2.11")
  message(FATAL_ERROR "LibTorch 2.11 is needed, ${TORCH_ROOT} is ${torch_major}.${CMAKE_MATCH_1}")
endif()

add_library(prentice_torch INTERFACE)
target_include_directories(prentice_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIR}
                           ${TORCH_INCLUDE_DIR}/torch/csrc/api/include)
# libtorch_cpu of the CUDA build names libcupti and libcudart as needed; they lie beside it in the wheels.
file(GLOB cuda_library_dirs ${TORCH_ROOT}/../nvidia/*/lib)
target_link_directories(prentice_torch INTERFACE ${TORCH_ROOT}/lib)
target_link_libraries(prentice_torch INTERFACE torch_cpu c10 Threads::Threads)
foreach(dir ${TORCH_ROOT}/lib ${cuda_library_dirs})
  target_link_options(prentice_torch INTERFACE "LINKER:-rpath,${dir}" "LINKER:-rpath-link,${dir}")
endforeach()
add_library(prentice::torch ALIAS prentice_torch)
