/* Labelled 3 x 32 x 32 pictures in CIFAR-10's binary format: a record is a label byte, then 1024 bytes each of red, green,
 * blue, row by row. Folders have CIFAR-10's names too, so the real one is read as it is.
 */
#ifndef DATA_IMAGES_H
#define DATA_IMAGES_H

#include "base/base.h"
#include "ingot/data.h"

enum {
    IMAGE_SIDE = 32,
    IMAGE_PIXELS = IMAGE_SIDE * IMAGE_SIDE,
    IMAGE_RECORD_BYTES = 1 + 3 * IMAGE_PIXELS,
    IMAGE_CLASSES = 10,
    IMAGE_FILE_RECORDS = 10000, /* of one file, as CIFAR-10 has them */
};

extern const char *const shape_names[IMAGE_CLASSES];

/* Picture `index` of `seed` as a record. */
void shape_draw(uint64_t seed, uint64_t index, uint8_t record[IMAGE_RECORD_BYTES]);

/* One file in memory as records; `name` is for messages. */
status images_parse(context *ctx, const char *name, const uint8_t *bytes, uint64_t count, int64_t *records);

#endif
