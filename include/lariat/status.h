/* What a call of the library returns, and how to read why it failed.
   Rests on nothing. Read on in lariat.h (engine and session). */
#ifndef LARIAT_STATUS_H
#define LARIAT_STATUS_H

#if defined(__GNUC__)
#define LARIAT_API __attribute__((visibility("default")))
#else
#define LARIAT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lariat_status {
    LARIAT_OK = 0,
    LARIAT_BAD_ARGUMENT, /* the caller asked for something that makes no sense */
    LARIAT_BAD_MODEL,    /* a file is damaged, hostile or contradicts itself */
    LARIAT_UNSUPPORTED,  /* a sound file that asks for what Lariat does not compute */
    LARIAT_NO_MEMORY,    /* would not fit: where it was foreseen, the message says by how much and what would */
    LARIAT_IO,           /* the system refused to open, read or write */
    LARIAT_CONTEXT_FULL, /* the session has no slot left for these tokens */
    LARIAT_CANCELLED,    /* lariat_engine_cancel was called */
    LARIAT_FAILED        /* what should not happen did: logits that are not finite, ranks out of step, a file of another size */
} lariat_status;

/* The reason of the last failure in the calling thread: one line, "what: why, and what to do", without a newline.
   Owned by the library, valid until the next failing call of this thread. Never NULL. */
LARIAT_API const char *lariat_error(void);

/* The library's version, "major.minor.patch"; built in a checkout with its commit behind it, as Semantic Versioning 2.0 has it: "0.1.0+8ec5d00",
   "0.1.0+8ec5d00.changed" where files differed from that commit. */
LARIAT_API const char *lariat_version(void);

#ifdef __cplusplus
}
#endif
#endif
