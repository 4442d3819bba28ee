# `cmake --install build --prefix DIR` gives a folder that runs elsewhere (glibc 2.36 or newer): bin/prentice, its shared
# libraries in lib/, found relative to the binary, and the recipes with their data. `--component cuda` adds the plug-in
# with torch's CUDA libraries (5 GB).
set(system_libraries "^ld-linux" "^libc\\.so" "^libm\\.so" "^libpthread" "^libdl\\.so" "^librt\\.so" "^libstdc\\+\\+"
                     "^libgcc_s" "^libcuda\\.so")
install(TARGETS prentice
        RUNTIME_DEPENDENCIES PRE_EXCLUDE_REGEXES ${system_libraries}
        RUNTIME DESTINATION bin COMPONENT prentice
        LIBRARY DESTINATION lib COMPONENT prentice)
install(DIRECTORY recipes data DESTINATION share/prentice COMPONENT prentice)
# The build's run path names folders of this machine; the installed one only the folder beside it.
install(CODE "file(RPATH_SET FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/bin/prentice\" NEW_RPATH \"\\\$ORIGIN/../lib\")"
        COMPONENT prentice)
if(TARGET prentice_cuda)
  install(TARGETS prentice_cuda
          RUNTIME_DEPENDENCIES PRE_EXCLUDE_REGEXES ${system_libraries}
          LIBRARY DESTINATION bin COMPONENT cuda EXCLUDE_FROM_ALL
          RUNTIME DESTINATION bin COMPONENT cuda EXCLUDE_FROM_ALL)
  install(CODE "file(RPATH_SET FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/bin/$<TARGET_FILE_NAME:prentice_cuda>\" NEW_RPATH \"\\\$ORIGIN/../lib\")"
          COMPONENT cuda EXCLUDE_FROM_ALL)
endif()
