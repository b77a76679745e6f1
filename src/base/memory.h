/* What memory this process may still use. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdint.h>

/* Bytes that can be allocated without swapping: the smaller of MemAvailable and what the control group leaves. */
int64_t memory_available(void);

#endif
