# The targets of tests/fuzz under libFuzzer, whose archive PRENTICE_FUZZ is (scripts/fuzz.sh). g++ has no libFuzzer of
# its own, but reports the way a program takes: tests/fuzz/coverage.cpp hands it on.
function(fuzzer NAME SOURCE)
  add_executable(${NAME} tests/fuzz/coverage.cpp tests/fuzz/libfuzzer.cpp tests/fuzz/gguf_mutator.cpp ${SOURCE})
  target_include_directories(${NAME} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${NAME} PRIVATE ${ARGN} ${PRENTICE_FUZZ})
  # One address for every place, so that a seed decides what is done; and coverage.cpp's function before the archive's.
  target_link_options(${NAME} PRIVATE -no-pie LINKER:--allow-multiple-definition)
endfunction()
fuzzer(prentice_fuzz tests/fuzz/readers.cpp prentice_model prentice_text prentice_quant)
