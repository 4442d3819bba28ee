# The Rust bridge (src/text/bridge): the crates `tokenizers` and `minijinja` as one static library with a C interface.
find_program(CARGO cargo HINTS $ENV{HOME}/.cargo/bin REQUIRED)
set(bridge_dir ${CMAKE_SOURCE_DIR}/src/text/bridge)
set(bridge_target_dir ${CMAKE_BINARY_DIR}/bridge)
if(DEFINED PRENTICE_BRIDGE_TARGET)
  set(bridge_target_dir ${PRENTICE_BRIDGE_TARGET})  # shared by several build folders
endif()
set(bridge_archive ${bridge_target_dir}/release/libprentice_bridge.a)
file(GLOB bridge_sources CONFIGURE_DEPENDS ${bridge_dir}/src/*.rs ${bridge_dir}/Cargo.*)
add_custom_command(OUTPUT ${bridge_archive}
  COMMAND ${CARGO} build --release --locked --quiet --manifest-path ${bridge_dir}/Cargo.toml
          --target-dir ${bridge_target_dir}
  DEPENDS ${bridge_sources} COMMENT "Building the Rust bridge" VERBATIM)
add_custom_target(prentice_bridge_build DEPENDS ${bridge_archive})
add_library(prentice_bridge INTERFACE)
add_dependencies(prentice_bridge prentice_bridge_build)
target_link_libraries(prentice_bridge INTERFACE ${bridge_archive} Threads::Threads ${CMAKE_DL_LIBS} m)
add_library(prentice::bridge ALIAS prentice_bridge)
