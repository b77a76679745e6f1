/* Memory that this process may still use. */
#pragma once

#include <stdint.h>

/* Bytes that can be allocated without swapping: the minimum of MemAvailable and the control groups' remaining limits. */
int64_t memory_available(void);
/* The same with /proc and /sys in the folder `root`. */
int64_t memory_available_in(const char *root);
