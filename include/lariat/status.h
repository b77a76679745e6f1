/* Status codes, and the reason of a failure.
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
    LARIAT_BAD_ARGUMENT, /* an invalid argument or combination */
    LARIAT_BAD_MODEL,    /* a file is damaged, malicious or inconsistent */
    LARIAT_UNSUPPORTED,  /* a valid file or request that Lariat does not implement */
    LARIAT_NO_MEMORY,    /* does not fit; from a plan, the message says by how much and what would fit */
    LARIAT_IO,           /* the system refused to open, read or write */
    LARIAT_CONTEXT_FULL, /* the session has no slot left for these tokens */
    LARIAT_CANCELLED,    /* lariat_session_cancel was called, or the session was rewound or closed */
    LARIAT_FAILED,       /* an internal error: logits that are not finite, ranks out of step, a file whose size changed */
    LARIAT_BUSY          /* two passes are under way, or one where none may be: collect first */
} lariat_status;

/* The reason of the last failure in the calling thread: one line, "what: why, and what to do", without a newline.
   Owned by the library, valid until the next failing call of this thread. Never NULL. */
LARIAT_API const char *lariat_error(void);

/* The library's version, "major.minor.patch"; a build from a checkout appends its commit, as Semantic Versioning 2.0 defines
   it: "0.1.0+8ec5d00", "0.1.0+8ec5d00.changed" where files differed from that commit. */
LARIAT_API const char *lariat_version(void);

#ifdef __cplusplus
}
#endif
#endif
