# ./dev install: program, library, headers, ingot.pc, CMake package, man page, completion.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set_target_properties(ingot PROPERTIES EXPORT_NAME ingot)
install(TARGETS ingot EXPORT ingot_targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET ingot_cuda)
  install(TARGETS ingot_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}) # where the program beside looks: ../lib
endif()
install(TARGETS ingot_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY include/ingot DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

# ingot.pc finds its folder by itself, so that the tree may be moved and --prefix may come at install time.
file(RELATIVE_PATH pc_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file(cmake/ingot.pc.in ${CMAKE_BINARY_DIR}/ingot.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/ingot.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(EXPORT ingot_targets NAMESPACE ingot:: FILE ingot-config.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ingot)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/ingot-config-version.cmake VERSION ${PROJECT_VERSION}
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/ingot-config-version.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ingot)

# The program writes its own man page and completion scripts.
if(NOT CMAKE_CROSSCOMPILING)
  set(pages ${CMAKE_BINARY_DIR}/pages)
  file(MAKE_DIRECTORY ${pages})
  add_custom_command(
    OUTPUT ${pages}/ingot.1 ${pages}/ingot.bash ${pages}/_ingot ${pages}/ingot.fish
    COMMAND ingot_program man > ${pages}/ingot.1
    COMMAND ingot_program completion bash > ${pages}/ingot.bash
    COMMAND ingot_program completion zsh > ${pages}/_ingot
    COMMAND ingot_program completion fish > ${pages}/ingot.fish
    DEPENDS ingot_program
    VERBATIM)
  add_custom_target(ingot_pages ALL DEPENDS ${pages}/ingot.1)
  install(FILES ${pages}/ingot.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${pages}/ingot.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ingot)
  install(FILES ${pages}/_ingot DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${pages}/ingot.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
