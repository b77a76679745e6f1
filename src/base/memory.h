/* What memory this process may still use. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdint.h>

/* Bytes that can be allocated without swapping: the least of MemAvailable and what the control groups leave, of version 1 or
   2. */
int64_t memory_available(void);
/* The same where /proc and /sys are in the folder `root`. */
int64_t memory_available_in(const char *root);

#endif
