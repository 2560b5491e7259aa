/* The parts of `ingot tokenizer`. */
#ifndef CLI_TOKENIZER_H
#define CLI_TOKENIZER_H

#include "base/file.h"
#include "cli/verb.h"
#include "text/tokenizer.h"

extern const verb tokenizer_encode_verb, tokenizer_decode_verb;

/* The checksum as 16 hexadecimal digits. */
struct checksum_digits {
    char digits[17];
};
struct checksum_digits checksum_text(const ingot_tokenizer *t);

#endif
