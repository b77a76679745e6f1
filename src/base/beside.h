/* Files that are installed with this code: modules that are loaded when they are needed.
   Rests on dladdr. device/gpu.c and comm/mpi/mpi_start.c look for theirs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The path of a file of that name beside the program or library of this code, or in its lib folder, perhaps one level up
   (Debian's lib/MACHINE). False: there is none. */
bool file_beside(const char *name, char path[], size_t size);
