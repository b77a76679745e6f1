/* Monotonic time. */
#pragma once

/* Seconds since an arbitrary fixed point. */
double clock_now(void);
