/* Folders that hold a model's files without being one.
   Rests on json.h. */
#pragma once

#include "base/fail.h"

/* Refuses a folder of Hugging Face's cache around its snapshots, and an adapter without its model, with advice. Any other
   folder is LARIAT_OK. */
lariat_status model_folder_check(const char *folder);
