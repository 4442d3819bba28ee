# configs/ is embedded in the binary as one table of (path, text); `--configs DIR` overrides it at run time.
file(GLOB_RECURSE config_files CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/configs ${CMAKE_SOURCE_DIR}/configs/*)
list(SORT config_files)
set(embedded ${CMAKE_BINARY_DIR}/generated/embedded_configs.cpp)
set(config_paths ${config_files})
list(TRANSFORM config_paths PREPEND ${CMAKE_SOURCE_DIR}/configs/)
add_custom_command(OUTPUT ${embedded}
  COMMAND ${CMAKE_COMMAND} -DOUT=${embedded} -DROOT=${CMAKE_SOURCE_DIR}/configs "-DFILES=${config_files}"
          -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${config_paths} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
add_library(prentice_configs STATIC ${embedded})
add_library(prentice::configs ALIAS prentice_configs)
