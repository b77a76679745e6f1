/* Where the reference data lies: tests/data in the repository, and the folder with the whole of it, if this machine has one:
   LARIAT_REFERENCE, or ../shared beside the checkout. */
#ifndef SUPPORT_REFERENCE_H
#define SUPPORT_REFERENCE_H

enum { TEST_SKIPPED = 77 }; /* exit status that CTest counts as skipped */

/* The path of `name` ("reference/models/mha-bf16") in that folder, allocated, or NULL if it is not there. */
char *reference_path(const char *name);

#endif
