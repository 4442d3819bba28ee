# `cmake --install build --prefix DIR` gives a folder that runs elsewhere (glibc 2.36 or newer): bin/prentice, its shared
# libraries in lib/, found relative to the binary, and the recipes with their data. `--component cuda` adds the plug-in
# with torch's CUDA libraries (5 GB).
set(system_libraries "^ld-linux" "^libc\\.so" "^libm\\.so" "^libpthread" "^libdl\\.so" "^librt\\.so" "^libresolv\\.so"
                     "^libutil\\.so" "^libstdc\\+\\+" "^libgcc_s" "^libcuda\\.so")
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

# `--component gpu` is what scripts/gpu_check.sh takes along to a machine that has LibTorch already: the program, the
# plug-in and the tests that need a device, in one folder, with the libraries that are not LibTorch's. They have no run
# path: the check names this lib/ and LibTorch's in LD_LIBRARY_PATH.
get_property(gpu_tests GLOBAL PROPERTY prentice_gpu_tests)
if(TARGET prentice_cuda AND gpu_tests)
  add_custom_target(gpu_bundle DEPENDS prentice prentice_cuda ${gpu_tests})
  install(TARGETS prentice ${gpu_tests}
          RUNTIME_DEPENDENCIES PRE_EXCLUDE_REGEXES ${system_libraries} "^libtorch" "^libc10" "^libgomp" "^libcudart"
          RUNTIME DESTINATION bin COMPONENT gpu EXCLUDE_FROM_ALL
          LIBRARY DESTINATION lib COMPONENT gpu EXCLUDE_FROM_ALL)
  install(TARGETS prentice_cuda LIBRARY DESTINATION bin COMPONENT gpu EXCLUDE_FROM_ALL)
endif()
