/* Token files opened for reading: a folder of `data prepare`, one file, or a glob of shards. */
#ifndef DATA_DATA_H
#define DATA_DATA_H

#include "base/base.h"
#include "formats/token_bin.h"
#include "ingot/data.h"

struct ingot_data {
    context *ctx;
    char *name; /* path and split, for messages */
    ARRAY(token_bin) shards;
    ARRAY(int64_t) ends; /* tokens up to the end of each shard */
    int64_t tokens;
    ingot_split_info info;
    uint64_t tokenizer_checksum;
    int vocab_size, eot;
    char rows[16];
};

/* Where the documents of `data` begin: index[0 .. *count), then the number of tokens at index[*count]. Tokens before the
 * first EOT are a document of their own. The caller frees *index. */
status data_documents(const ingot_data *data, int64_t **index, int64_t *count);

#endif
