# prentice::hdf5 = the C library alone. Debian keeps its serial build under a name of its own; a copy under
# CMAKE_PREFIX_PATH is found first. Not find_package(HDF5): it asks a compiler wrapper that other copies lack.
find_path(HDF5_INCLUDE hdf5.h PATH_SUFFIXES hdf5/serial)
find_library(HDF5_LIBRARY NAMES hdf5 hdf5_serial PATH_SUFFIXES hdf5/serial)
if(NOT HDF5_INCLUDE OR NOT HDF5_LIBRARY)
  message(FATAL_ERROR "HDF5 was not found. Run scripts/setup.sh, or install libhdf5-dev")
endif()
add_library(prentice_hdf5 INTERFACE)
target_include_directories(prentice_hdf5 SYSTEM INTERFACE ${HDF5_INCLUDE})
target_link_libraries(prentice_hdf5 INTERFACE ${HDF5_LIBRARY})
add_library(prentice::hdf5 ALIAS prentice_hdf5)
