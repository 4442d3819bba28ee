# libprentice_cuda.so, the CUDA plug-in: the kernels (src/kernels/*.cu) and what registers them (src/*/*_cuda.cpp). The
# program never links it; it is loaded where there is a device (src/kernels/cuda_plugin.h).
# Reads: CMAKE_CUDA_COMPILER and CUDAToolkit_ROOT, where the toolkit is not on the path (scripts/setup.sh passes the one
# of the venv); TORCH_CUDA_ARCH_LIST, for instance "9.0" for a quick local build.
set(TORCH_CUDA_ARCH_LIST "8.0;8.6;8.9;9.0;10.0;12.0" CACHE STRING "Compute capabilities of the CUDA plug-in")
string(REPLACE "." "" CMAKE_CUDA_ARCHITECTURES "${TORCH_CUDA_ARCH_LIST}")
list(TRANSFORM CMAKE_CUDA_ARCHITECTURES APPEND "-real")
list(GET CMAKE_CUDA_ARCHITECTURES -1 newest)
string(REPLACE "-real" "-virtual" newest "${newest}")
list(APPEND CMAKE_CUDA_ARCHITECTURES ${newest})  # newer devices compile this at start
set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # one CUDA runtime a process: LibTorch's
set(CMAKE_CUDA_STANDARD 20)
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)

# The runtime's headers lie beside the compiler, its library beside LibTorch or in the toolkit.
cmake_path(GET CMAKE_CUDA_COMPILER PARENT_PATH cuda_bin)
cmake_path(GET cuda_bin PARENT_PATH cuda_root)
find_path(CUDA_RUNTIME_INCLUDE cuda_runtime_api.h HINTS ${CUDAToolkit_ROOT} ${cuda_root} PATH_SUFFIXES include
          targets/x86_64-linux/include REQUIRED)
find_library(CUDA_RUNTIME_LIBRARY NAMES cudart libcudart.so.13 HINTS ${CUDAToolkit_ROOT} ${cuda_root}
             PATH_SUFFIXES lib lib64 targets/x86_64-linux/lib REQUIRED)

file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/*/*_cuda.cpp ${CMAKE_SOURCE_DIR}/src/*/*.cu)
add_library(prentice_cuda SHARED ${cuda_sources})
target_include_directories(prentice_cuda PRIVATE ${CMAKE_SOURCE_DIR}/src)
target_include_directories(prentice_cuda SYSTEM PRIVATE ${CUDA_RUNTIME_INCLUDE})
target_compile_options(prentice_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wno-missing-field-initializers -fopenmp>  # core/parallel.h
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>)
target_link_libraries(prentice_cuda PRIVATE prentice::torch torch_cuda c10_cuda ${CUDA_RUNTIME_LIBRARY})
# Registering its kernels is all that some of these libraries are linked for.
target_link_options(prentice_cuda PRIVATE LINKER:--no-as-needed)
set_target_properties(prentice_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
