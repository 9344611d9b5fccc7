# What the libraries of JadeVectorDB are built from, as imported targets: used by
# the build itself and, installed, by projects that embed the database. All are
# Debian 12 packages (apps/packages.txt); several ship no CMake config.
include_guard(GLOBAL)
enable_language(C)  # Cap'n Proto's package looks for libatomic with it
find_package(Threads REQUIRED)
find_package(CapnProto REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)

# jade_import(NAME HEADER [LIBRARIES lib...] [LINK target...]) makes jade::NAME
# from a header and the libraries that must be linked with it.
function(jade_import name header)
  cmake_parse_arguments(arg "" "" "LIBRARIES;LINK" ${ARGN})
  find_path(${name}_INCLUDE_DIR ${header})
  mark_as_advanced(${name}_INCLUDE_DIR)
  if(NOT ${name}_INCLUDE_DIR)
    message(FATAL_ERROR "${name}: header ${header} not found; run apps/install-packages")
  endif()
  add_library(jade::${name} INTERFACE IMPORTED GLOBAL)
  target_include_directories(jade::${name} SYSTEM INTERFACE ${${name}_INCLUDE_DIR})
  foreach(library ${arg_LIBRARIES})
    find_library(${name}_${library}_LIBRARY ${library})
    mark_as_advanced(${name}_${library}_LIBRARY)
    if(NOT ${name}_${library}_LIBRARY)
      message(FATAL_ERROR "${name}: library ${library} not found; run apps/install-packages")
    endif()
    target_link_libraries(jade::${name} INTERFACE ${${name}_${library}_LIBRARY})
  endforeach()
  target_link_libraries(jade::${name} INTERFACE ${arg_LINK})
endfunction()

jade_import(caf caf/all.hpp LIBRARIES caf_io caf_core LINK Threads::Threads)
jade_import(openssl openssl/ssl.h LIBRARIES ssl crypto)
jade_import(raft raft.h LIBRARIES raft)
jade_import(leveldb leveldb/db.h LIBRARIES leveldb)
jade_import(faiss faiss/IndexHNSW.h LIBRARIES faiss openblas LINK OpenMP::OpenMP_CXX)
# Boost 1.81: Beast and Asio are headers; Boost.JSON is compiled once, header-only
# style, in storage/boost_json.cpp. (Boost 1.74, Debian's default, has no JSON.)
jade_import(boost boost/json/src.hpp LINK Threads::Threads)
target_compile_definitions(jade::boost INTERFACE BOOST_ALL_NO_LIB)
