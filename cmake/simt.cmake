# The CUDA module for the CPU: -DINGOT_SIMT=ON. The same kernels and the same runtime code as cmake/cuda.cmake compiles, against
# CUDA's headers and, in place of its libraries, what tests/simt has. For tests of device code where there is no GPU.
option(INGOT_SIMT "build libingot_cuda.so for the CPU, for tests" OFF)
if(INGOT_SIMT)
  if(INGOT_CUDA)
    message(FATAL_ERROR "INGOT_SIMT and INGOT_CUDA both make libingot_cuda.so: build each in a folder of its own")
  endif()
  enable_language(CXX)
  set(CMAKE_CXX_STANDARD 20)
  if(CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  endif()
  find_package(CUDAToolkit REQUIRED) # its headers
  find_package(Boost REQUIRED COMPONENTS context)
  file(GLOB_RECURSE simt_device RELATIVE ${CMAKE_SOURCE_DIR} CONFIGURE_DEPENDS src/*.cu src/*.cuh)
  list(FILTER simt_device EXCLUDE REGEX "kit/cuda/ptx") # tests/simt has its own
  foreach(file ${simt_device})
    string(REGEX REPLACE "\\.cu$" ".cu.cpp" made simt/${file})
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/${made}
      COMMAND ${CMAKE_COMMAND} -E make_directory $<PATH:GET_PARENT_PATH,${CMAKE_BINARY_DIR}/${made}>
      COMMAND ${CMAKE_SOURCE_DIR}/tests/simt/translate.sh ${CMAKE_SOURCE_DIR}/${file} > ${CMAKE_BINARY_DIR}/${made}
      DEPENDS ${file} tests/simt/translate.sh VERBATIM)
    list(APPEND simt_sources ${CMAKE_BINARY_DIR}/${made})
  endforeach()
  add_custom_target(simt_headers DEPENDS ${simt_sources}) # those that are included, before anything is compiled
  list(FILTER simt_sources INCLUDE REGEX "\\.cu\\.cpp$")
  file(GLOB_RECURSE cuda_c CONFIGURE_DEPENDS src/ops/*_cuda.c src/device/cuda/*.c src/kit/cuda/*.c)
  file(GLOB simt_machine CONFIGURE_DEPENDS tests/simt/*.cpp)
  list(FILTER simt_machine EXCLUDE REGEX "/test_")
  add_library(simt_machine OBJECT ${simt_machine})
  set_target_properties(simt_machine PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_include_directories(simt_machine PUBLIC tests/simt)
  target_include_directories(simt_machine SYSTEM PUBLIC ${CUDAToolkit_INCLUDE_DIRS})
  target_compile_options(simt_machine PRIVATE -O2 -g1)
  target_link_libraries(simt_machine PUBLIC Boost::context Threads::Threads ${CMAKE_DL_LIBS})
  add_library(ingot_cuda MODULE ${simt_sources} ${cuda_c})
  add_dependencies(ingot_cuda simt_headers)
  target_compile_definitions(ingot_cuda PRIVATE INGOT_CUDA_HAS_90A)
  target_include_directories(ingot_cuda PRIVATE tests/simt ${CMAKE_BINARY_DIR}/simt/src include src) # in this order
  set_source_files_properties(tests/simt/nvrtc.cpp PROPERTIES COMPILE_DEFINITIONS "SIMT_COMPILER=\"${CMAKE_CXX_COMPILER}\";\
SIMT_INCLUDE=\"${CMAKE_SOURCE_DIR}/tests/simt\";SIMT_KEPT=\"${CMAKE_BINARY_DIR}/simt-kept\"")
  set_source_files_properties(tests/simt/cublaslt.cpp PROPERTIES COMPILE_OPTIONS -march=native)
  set_source_files_properties(${simt_sources} PROPERTIES
    COMPILE_OPTIONS "-include;${CMAKE_SOURCE_DIR}/tests/simt/device.h;-w;-fpermissive;-march=native")
  target_compile_options(ingot_cuda PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O2 -g1>)
  target_link_libraries(ingot_cuda PRIVATE simt_machine)

  # Programs that test the machine itself.
  add_custom_target(simt_tests)
  file(GLOB simt_tests CONFIGURE_DEPENDS tests/simt/test_*.cpp)
  foreach(file ${simt_tests})
    get_filename_component(name ${file} NAME_WE)
    add_executable(simt_${name} ${file})
    target_link_libraries(simt_${name} PRIVATE simt_machine)
    target_compile_options(simt_${name} PRIVATE -O2 -g1)
    add_test(NAME simt_${name} COMMAND simt_${name})
    add_dependencies(simt_tests simt_${name})
  endforeach()

  # The whole module: every op, the device's contract, the main job.
  if(BUILD_TESTING)
    foreach(which "80;float32;0" "90;bfloat16;1")
      list(GET which 0 arch)
      list(GET which 1 dtype)
      list(GET which 2 seed)
      add_test(NAME simt_check_${arch}_${dtype} COMMAND ingot_program check --quiet --small --device cuda --dtype ${dtype} --kernel-cache none)
      set_tests_properties(simt_check_${arch}_${dtype} PROPERTIES ENVIRONMENT "SIMT_ARCH=${arch};SIMT_SEED=${seed}" TIMEOUT 900)
    endforeach()
    add_test(NAME simt_check_by_request COMMAND ingot_program check --quiet --small --device cuda --dtype bfloat16 --kernel-cache none
      --ops turned_attention,turned_attention_grad --prefer turned_attention.short,turned_attention_grad.short)
    set_tests_properties(simt_check_by_request PROPERTIES ENVIRONMENT SIMT_ARCH=90 TIMEOUT 300)
    add_test(NAME simt_device COMMAND test_device)
    set_tests_properties(simt_device PROPERTIES TIMEOUT 300
      ENVIRONMENT "INGOT_TEST_DEVICE=cuda;LD_LIBRARY_PATH=${CMAKE_BINARY_DIR}")
    add_test(NAME simt_job COMMAND bash ${CMAKE_SOURCE_DIR}/tests/simt/job.sh $<TARGET_FILE:ingot_program>)
    set_tests_properties(simt_job PROPERTIES TIMEOUT 600)
  endif()
endif()
