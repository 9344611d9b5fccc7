# hnswlib chooses its instructions when it is compiled, so that it is measured at
# its best only when compiled for the processor at hand. It is compiled three
# times, in namespaces of their own, and chosen when the benchmark runs.
set(bench ${CMAKE_CURRENT_LIST_DIR})
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(${bench}/peer_hnswlib_avx2.cpp PROPERTIES
    COMPILE_OPTIONS "-mavx2;-mfma;-Wno-unused-parameter;-Wno-shadow")
  set_source_files_properties(${bench}/peer_hnswlib_avx512.cpp PROPERTIES
    COMPILE_OPTIONS "-mavx2;-mfma;-mavx512f;-Wno-unused-parameter;-Wno-shadow")
endif()
