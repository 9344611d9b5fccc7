# hnswlib chooses its instructions when it is compiled, so that it is measured at
# its best only when compiled for the processor at hand. It is compiled three
# times, in namespaces of their own, and chosen when the benchmark runs.
#
# What is compiled with -mavx must not be found by the rest of the program: of a
# template or inline function of the standard library, the linker keeps any one
# copy, and the program would end on a processor without AVX, benchmark or not. So
# such objects are sealed: their COMDAT groups are dissolved, so that no copy is
# shared in either direction, and all symbols but the factory are made local.
# (tests/instructions checks the outcome.)
#
# hnswlib 0.6 reads one link behind the end of a full list, to prefetch it; that is
# not ours to fix, and would end each sanitized benchmark.
set(peer_options -fno-sanitize=all)
if(JADE_SANITIZE)
  # At -Og constants of the standard library become symbols that cannot be made local.
  list(APPEND peer_options -O1)
endif()

function(jade_sealed_peer name)
  add_library(peer_${name} OBJECT ${CMAKE_CURRENT_SOURCE_DIR}/bench/peer_hnswlib_${name}.cpp)
  target_include_directories(peer_${name} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_link_libraries(peer_${name} PRIVATE jade_net jade::hnswlib)
  jade_warnings(peer_${name})
  target_compile_options(peer_${name} PRIVATE ${peer_options} ${ARGN} -Wno-unused-parameter
    -Wno-shadow)

  set(sealed ${CMAKE_CURRENT_BINARY_DIR}/bench/peer_hnswlib_${name}.o)
  add_custom_command(OUTPUT ${sealed} BYPRODUCTS ${sealed}.open
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/bench
    COMMAND ${CMAKE_LINKER} -r --force-group-allocation -o ${sealed}.open
      $<TARGET_OBJECTS:peer_${name}>
    COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=*make_hnswlib_${name}*
      ${sealed}.open ${sealed}
    DEPENDS peer_${name} $<TARGET_OBJECTS:peer_${name}>
    COMMENT "Sealing hnswlib (${name})" VERBATIM)
  set_source_files_properties(${sealed} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  target_sources(jade_apps PRIVATE ${sealed})
endfunction()

set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/bench/peer_hnswlib_base.cpp PROPERTIES
  COMPILE_OPTIONS "${peer_options}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  jade_sealed_peer(avx2 -mavx2 -mfma)
  jade_sealed_peer(avx512 -mavx2 -mfma -mavx512f)
endif()
