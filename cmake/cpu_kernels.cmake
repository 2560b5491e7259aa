# Each src/**/*_cpu.c is one source compiled once per instruction set; INGOT_ISA names the copy. The device picks at run
# time (device/cpu), so one build runs on every machine of its architecture.
file(GLOB_RECURSE cpu_kernel_sources CONFIGURE_DEPENDS src/*_cpu.c)
set(cpu_kernel_flags -O3 -ffp-contract=fast -fno-trapping-math -fopenmp-simd)
if(INGOT_FUZZ) # fuzz targets are readers of files: they run no kernel, and clang instruments an unrolled one for minutes
  list(APPEND cpu_kernel_flags -fno-sanitize=all)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(cpu_isas baseline avx2 avx512)
  set(cpu_isa_flags_baseline "")
  set(cpu_isa_flags_avx2 -mavx2 -mfma -mf16c -mtune=haswell)
  set(cpu_isa_flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512)
else()
  set(cpu_isas baseline)
  set(cpu_isa_flags_baseline "")
endif()

# Kernels for one extension: compiled once, their match asks whether the machine has it.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  file(GLOB_RECURSE avx512bf16_sources CONFIGURE_DEPENDS src/*_avx512bf16.c)
  set_source_files_properties(${avx512bf16_sources} PROPERTIES COMPILE_OPTIONS
    "${cpu_kernel_flags};${cpu_isa_flags_avx512};-mavx512bf16")
  file(GLOB_RECURSE amx_sources CONFIGURE_DEPENDS src/*_amx.c)
  set_source_files_properties(${amx_sources} PROPERTIES COMPILE_OPTIONS
    "${cpu_kernel_flags};${cpu_isa_flags_avx512};-mavx512bf16;-mamx-tile;-mamx-bf16")
endif()

set(cpu_kernel_objects "")
foreach(isa IN LISTS cpu_isas)
  add_library(ingot_cpu_${isa} OBJECT ${cpu_kernel_sources})
  target_link_libraries(ingot_cpu_${isa} PUBLIC ingot_dependencies)
  target_compile_definitions(ingot_cpu_${isa} PRIVATE INGOT_ISA=${isa})
  # Sums are reordered only where a loop says so (#pragma omp simd reduction): what kit/cpu/vmath.h rounds stays rounded.
  target_compile_options(ingot_cpu_${isa} PRIVATE ${cpu_kernel_flags} ${cpu_isa_flags_${isa}})
  list(APPEND cpu_kernel_objects $<TARGET_OBJECTS:ingot_cpu_${isa}>)
endforeach()
string(TOUPPER "${cpu_isas}" cpu_isas_upper)
foreach(isa IN LISTS cpu_isas_upper)
  target_compile_definitions(ingot_dependencies INTERFACE INGOT_HAVE_${isa})
endforeach()
