// A function attribute that compiles a loop for several instruction sets and picks one when the program starts.
#pragma once

// Sanitizers run code before the processor is known, so under them the portable form is the only one.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define PRENTICE_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PRENTICE_VECTORISED
#endif
