# SentencePiece 0.2.1 from its PyPI source package (Debian's 0.1.97 lacks the fix of CVE-2026-1260), built by
# scripts/setup.sh into PRENTICE_SENTENCEPIECE; a system copy under CMAKE_PREFIX_PATH serves as well.
find_path(SENTENCEPIECE_INCLUDE sentencepiece_processor.h HINTS ${PRENTICE_SENTENCEPIECE}/include)
find_library(SENTENCEPIECE_LIBRARY NAMES libsentencepiece.a sentencepiece HINTS ${PRENTICE_SENTENCEPIECE}/lib)
if(NOT SENTENCEPIECE_INCLUDE OR NOT SENTENCEPIECE_LIBRARY)
  message(FATAL_ERROR "SentencePiece was not found. Run scripts/setup.sh")
endif()
add_library(prentice_sentencepiece INTERFACE)
target_include_directories(prentice_sentencepiece SYSTEM INTERFACE ${SENTENCEPIECE_INCLUDE})
target_link_libraries(prentice_sentencepiece INTERFACE ${SENTENCEPIECE_LIBRARY})
add_library(prentice::sentencepiece ALIAS prentice_sentencepiece)
