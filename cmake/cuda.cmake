# The module for NVIDIA GPUs, liblariat_cuda.so: opened at run time when a GPU is wanted, so that nothing else depends on CUDA.
# Its kernels are compiled by nvcc, everything else and the linking by the C compiler; the CUDA runtime is inside, cublasLt is
# opened when a device is.
#
# LARIAT_CUDA_ARCHS names what the kernels are compiled for. The default of a build with tests, a developer's, is Hopper alone
# (90a-real): a third of the time. The default of any other, one that may be installed, is everything that is supported: Ampere
# and later (80-real), Hopper (90a-real), and 90-virtual, which the driver compiles for later cards.
if(LARIAT_TESTS)
  set(archs 90a-real)
else()
  set(archs 80-real 90a-real 90-virtual)
endif()
set(LARIAT_CUDA_ARCHS "" CACHE STRING "CUDA architectures, as CMake's CUDA_ARCHITECTURES; empty: see cmake/cuda.cmake")
if(LARIAT_CUDA_ARCHS)
  set(archs ${LARIAT_CUDA_ARCHS})
endif()

set(LARIAT_HAS_CUDA OFF)
if(NOT LARIAT_CUDA)
  message(STATUS "CUDA: not wanted (LARIAT_CUDA=${LARIAT_CUDA}); only the CPU")
  return()
endif()
if(CMAKE_CROSSCOMPILING)
  message(STATUS "CUDA: not for another machine than this; only the CPU")
  return()
endif()
if(DEFINED ENV{CUDACXX} AND NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER $ENV{CUDACXX}) # a program, as CMake has it
endif()
find_program(CMAKE_CUDA_COMPILER nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(NOT CMAKE_CUDA_COMPILER)
  if(LARIAT_CUDA STREQUAL "ON")
    message(FATAL_ERROR
      "CUDA: no nvcc in PATH, CUDA_HOME or /usr/local/cuda: install CUDA's toolkit, or build with -DLARIAT_CUDA=AUTO")
  endif()
  message(STATUS "CUDA: no nvcc in PATH, CUDA_HOME or /usr/local/cuda; only the CPU")
  return()
endif()
list(JOIN archs ", " archs_text)
# AUTO takes a machine as it is: an nvcc that cannot compile for these, an old one or one without a C++ compiler, is as good as
# none. It is tried apart, since enable_language() would end the configuration.
if(NOT LARIAT_CUDA STREQUAL "ON" AND NOT LARIAT_CUDA_WORKS STREQUAL "${CMAKE_CUDA_COMPILER} ${archs_text}")
  set(trial ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/cuda_trial)
  file(WRITE ${trial}.cu "__global__ void nothing() {}\n")
  set(codes "")
  set(host ${CMAKE_CUDA_HOST_COMPILER} $ENV{CUDAHOSTCXX})
  if(host)
    list(GET host 0 host)
    set(codes -ccbin ${host})
  endif()
  foreach(arch IN LISTS archs)
    if(arch MATCHES "^([0-9]+[a-z]?)-virtual$")
      list(APPEND codes -gencode arch=compute_${CMAKE_MATCH_1},code=compute_${CMAKE_MATCH_1})
    elseif(arch MATCHES "^([0-9]+[a-z]?)(-real)?$")
      list(APPEND codes -gencode arch=compute_${CMAKE_MATCH_1},code=sm_${CMAKE_MATCH_1})
    endif()
  endforeach()
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} ${codes} -c ${trial}.cu -o ${trial}.o RESULT_VARIABLE failed
    OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(failed)
    message(WARNING "CUDA: ${CMAKE_CUDA_COMPILER} does not compile for ${archs_text}; only the CPU (LARIAT_CUDA=ON would insist):\n"
      "${said}")
    return()
  endif()
  set(LARIAT_CUDA_WORKS "${CMAKE_CUDA_COMPILER} ${archs_text}" CACHE INTERNAL "What was tried and worked")
endif()
set(CMAKE_CUDA_ARCHITECTURES ${archs}) # before the compiler is tried: CMake's own default is older than what nvcc takes
enable_language(CUDA)
# What the module links is named below, the runtime among it. CMake's own list, which it reads from what nvcc says, has C++'s
# library, and breaks where the path of nvcc has a blank.
set(CMAKE_CUDA_IMPLICIT_LINK_LIBRARIES "")
set(CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES "")
set(CMAKE_CUDA_RUNTIME_LIBRARY None)
# CMake 3.25 has a remark on nvToolsExt for projects that want 3.25, and fails where there is none, as from CUDA 12.9 on.
set(required ${CMAKE_MINIMUM_REQUIRED_VERSION})
set(CMAKE_MINIMUM_REQUIRED_VERSION 3.24)
find_package(CUDAToolkit REQUIRED)
set(CMAKE_MINIMUM_REQUIRED_VERSION ${required})
set(LARIAT_HAS_CUDA ON)
message(STATUS "CUDA: ${CUDAToolkit_VERSION} in ${CUDAToolkit_TARGET_DIR}, for ${archs_text}")

# nvcc hands the list after -Xcompiler to the host's compiler; no libstdc++ is linked, so nothing in it may be needed.
file(GLOB_RECURSE cuda_kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/device/cuda/*.cu ${CMAKE_SOURCE_DIR}/src/comm/cuda/*.cu)
add_library(lariat_cuda_kernels OBJECT ${cuda_kernels})
set_target_properties(lariat_cuda_kernels PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
  CUDA_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON CUDA_ARCHITECTURES "${archs}")
target_include_directories(lariat_cuda_kernels PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_compile_options(lariat_cuda_kernels PRIVATE -O3 --expt-relaxed-constexpr -Werror all-warnings -lineinfo
  -Xcompiler=-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-Wall,-Wextra,-Werror)

file(GLOB_RECURSE cuda_module_sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/src/device/cuda/*.c
  ${CMAKE_SOURCE_DIR}/src/comm/cuda/*.c)
list(APPEND cuda_module_sources src/comm/comm.c src/device/device.c src/base/arena.c src/base/cgroup.c src/base/clock.c
  src/base/cpus.c src/base/dtype.c src/base/threads.c src/trace/spans.c)
add_library(lariat_cuda MODULE ${cuda_module_sources} $<TARGET_OBJECTS:lariat_cuda_kernels>)
target_include_directories(lariat_cuda PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_include_directories(lariat_cuda SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
target_link_libraries(lariat_cuda PRIVATE CUDA::cudart_static Threads::Threads ${CMAKE_DL_LIBS} m)
target_link_options(lariat_cuda PRIVATE -Wl,--exclude-libs,ALL)
if(NOT LARIAT_SANITIZE) # whose functions clang leaves to the program
  target_link_options(lariat_cuda PRIVATE -Wl,-z,defs)
endif()
set_target_properties(lariat_cuda PROPERTIES LINKER_LANGUAGE C)
install(TARGETS lariat_cuda DESTINATION lib/lariat)
