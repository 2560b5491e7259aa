# Every library that Ingot links, once; docs/dependencies.md says why each.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(REQUIRED_LIBS REQUIRED IMPORTED_TARGET jansson libpcre2-8 libutf8proc hwloc libxxhash yaml-0.1)

add_library(ingot_dependencies INTERFACE)
target_include_directories(ingot_dependencies INTERFACE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(ingot_dependencies INTERFACE PkgConfig::REQUIRED_LIBS Threads::Threads m ${CMAKE_DL_LIBS})
target_compile_definitions(ingot_dependencies INTERFACE INGOT_VERSION="${PROJECT_VERSION}" PCRE2_CODE_UNIT_WIDTH=8)

# The blas rung takes any CBLAS; without one the rung says that it is not there.
pkg_search_module(BLAS IMPORTED_TARGET openblas blis cblas)
if(BLAS_FOUND)
  target_link_libraries(ingot_dependencies INTERFACE PkgConfig::BLAS)
  target_compile_definitions(ingot_dependencies INTERFACE INGOT_CBLAS="${BLAS_MODULE_NAME}")
endif()
