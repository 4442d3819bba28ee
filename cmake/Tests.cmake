# Tests that drive the real binary or a live reference; unit tests are declared by room().
add_test(NAME check COMMAND ${CMAKE_SOURCE_DIR}/scripts/check.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(check PROPERTIES LABELS check)

# The program's main under another name, for runs in forks of one start (tests/fork_server.cpp).
add_library(prentice_main OBJECT src/cli/main.cpp)
target_compile_definitions(prentice_main PRIVATE main=prentice_main)
target_link_libraries(prentice_main PRIVATE prentice_cli)
add_executable(prentice_forks tests/fork_server.cpp)
target_link_libraries(prentice_forks PRIVATE prentice_main prentice_cli)

# What is fuzzed, on files that are given (tests/fuzz).
add_executable(prentice_replay tests/fuzz/replay.cpp tests/fuzz/readers.cpp)
target_include_directories(prentice_replay PRIVATE ${CMAKE_SOURCE_DIR}/tests)
target_link_libraries(prentice_replay PRIVATE prentice_model prentice_text prentice_quant)

# One ctest entry per Python file, so that `ctest -R` finds it: tests/recipes (the binary alone), tests/oracle (against
# transformers, PEFT, tokenizers, llama.cpp) and tests/fault (killed, cut and damaged).
find_program(TEST_PYTHON python HINTS ${PRENTICE_VENV}/bin NO_DEFAULT_PATH)
execute_process(COMMAND ${TEST_PYTHON} -c "import pytest" RESULT_VARIABLE no_pytest OUTPUT_QUIET ERROR_QUIET)
if(no_pytest AND PRENTICE_TEST_PROFILE)
  message(FATAL_ERROR "No pytest in ${PRENTICE_VENV}. Run scripts/setup.sh --profile test")
elseif(no_pytest)
  message(STATUS "No pytest in ${PRENTICE_VENV}: recipe, oracle and fault tests are left out (scripts/setup.sh --profile test)")
else()
  set(profile PRENTICE_TEST_PROFILE=)  # the tests fail for want of a program instead of skipping: tests/conftest.py
  if(PRENTICE_TEST_PROFILE)
    set(profile PRENTICE_TEST_PROFILE=1)
  endif()
  foreach(folder recipes oracle fault)
    file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/test_*.py)
    string(REGEX REPLACE "s$" "" label ${folder})
    foreach(file ${files})
      get_filename_component(name ${file} NAME_WE)
      string(REGEX REPLACE "^test_" "" name ${name})
      add_test(NAME ${label}.${name} COMMAND ${TEST_PYTHON} -m pytest -q -rs -p no:cacheprovider ${file}
               WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/tests)
      set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} TIMEOUT 3600 PROCESSORS 2
        ENVIRONMENT "PRENTICE_BINARY=$<TARGET_FILE:prentice>;PRENTICE_BUILD=${CMAKE_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1;${profile}")
    endforeach()
  endforeach()
endif()
