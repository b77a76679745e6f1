/* Unicode's normal forms and lower case, as Hugging Face's tokenizers have them.
   Rests on buffer.h. */
#pragma once

#include "text/buffer.h"

typedef enum unicode_form { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD } unicode_form;

/* Appends well-formed text in a normal form. */
lariat_status append_form(buffer *out, const char *text, size_t size, unicode_form form);
/* Appends well-formed text in lower case, character by character. */
lariat_status append_lowercase(buffer *out, const char *text, size_t size);
