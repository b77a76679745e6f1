/* Monotonic time. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* Seconds since an arbitrary fixed point. */
double clock_now(void);

#endif
