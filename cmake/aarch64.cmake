# Cross-compiling for 64-bit Arm with Debian's gcc-aarch64-linux-gnu. The libraries' headers (jansson, PCRE2, utf8proc, libedit)
# are the same on every machine and come from the host: build the target `lariat_objects`, which links nothing. To link, point
# CMAKE_SYSROOT at a system of that kind.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
if(NOT CMAKE_SYSROOT)
  # After the cross compiler's own, so that nothing of the host's C library comes in.
  set(CMAKE_C_FLAGS_INIT "-idirafter /usr/include")
endif()
