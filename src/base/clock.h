/* Monotonic time. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* Seconds since some fixed point; only differences mean anything. */
double clock_now(void);

#endif
