# `cmake --install`: the binary, and the embeddable database as a CMake package.
#
#   bin/jade
#   include/jade/jade.h            the one header to include
#   include/jade/{actors,index,storage}/...
#   lib/libjade_{actors,index,storage}.a
#   lib/cmake/JadeVectorDB/        find_package(JadeVectorDB) → JadeVectorDB::jade
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(headers_dir ${CMAKE_INSTALL_INCLUDEDIR}/jade)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/JadeVectorDB)

install(TARGETS jade RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

foreach(header actors/api.h actors/jade.h index/embedder.h index/explanation.h index/metric.h
    storage/datatype.h storage/status.h storage/vector_id.h)
  cmake_path(GET header PARENT_PATH folder)
  install(FILES ${header} DESTINATION ${headers_dir}/${folder})
endforeach()
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/install/jade.h @ONLY CONTENT
"// JadeVectorDB in your own process. See actors/jade.h.
#pragma once

#define JADE_VERSION_MAJOR @PROJECT_VERSION_MAJOR@
#define JADE_VERSION_MINOR @PROJECT_VERSION_MINOR@
#define JADE_VERSION_PATCH @PROJECT_VERSION_PATCH@

#include \"actors/jade.h\"
")
install(FILES ${PROJECT_BINARY_DIR}/install/jade.h DESTINATION ${headers_dir})

# The name to link; what it consists of may change.
add_library(jade_embedded INTERFACE)
set_target_properties(jade_embedded PROPERTIES EXPORT_NAME jade)
target_link_libraries(jade_embedded INTERFACE jade_actors)
target_compile_features(jade_embedded INTERFACE cxx_std_20)
target_include_directories(jade_embedded INTERFACE
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}> $<INSTALL_INTERFACE:${headers_dir}>)
install(TARGETS jade_embedded jade_actors jade_index jade_storage EXPORT JadeVectorDBTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT JadeVectorDBTargets NAMESPACE JadeVectorDB:: DESTINATION ${package_dir})

file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/install/JadeVectorDBConfig.cmake @ONLY CONTENT
"include(\"\${CMAKE_CURRENT_LIST_DIR}/JadeDependencies.cmake\")
include(\"\${CMAKE_CURRENT_LIST_DIR}/JadeVectorDBTargets.cmake\")
")
write_basic_package_version_file(${PROJECT_BINARY_DIR}/install/JadeVectorDBConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_SOURCE_DIR}/cmake/JadeDependencies.cmake
  ${PROJECT_BINARY_DIR}/install/JadeVectorDBConfig.cmake
  ${PROJECT_BINARY_DIR}/install/JadeVectorDBConfigVersion.cmake DESTINATION ${package_dir})
