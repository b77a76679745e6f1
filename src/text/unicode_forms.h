/* Unicode's normal forms and lower case, as Hugging Face's tokenizers have them.
   Rests on buffer.h. */
#pragma once

#include "text/buffer.h"

typedef enum unicode_form { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD } unicode_form;

/* Appends well-formed text in a normal form. */
lariat_status append_form(buffer *out, const char *text, size_t size, unicode_form form);
/* The end of what composes with the text before `at`, or is reordered among it. */
size_t form_end(const char *text, size_t size, size_t at);
/* *origin: the bytes of the text's first characters. Becomes that of the bytes that stand for them in the normal form, as
   Hugging Face's tokenizers align them: where marks change places, not those that the characters become alone. */
lariat_status form_origin(const char *text, size_t size, size_t *origin, unicode_form form);
/* Appends well-formed text in lower case, character by character. */
lariat_status append_lowercase(buffer *out, const char *text, size_t size);
