# `cmake --install` gives a folder that runs elsewhere.
install(TARGETS prentice RUNTIME DESTINATION bin)
