/* Pictures: CIFAR-10's layout, repeatable, told apart by more than their colours, and damaged files refused. */
#include <math.h>

#include "context.h"
#include "base/file.h"
#include "data/images.h"

enum { TRAIN = 150, VAL = 40 };

static int setup(void **state)
{
    (void)state;
    if (ingot_context_new(NULL, &ctx)) return 1;
    if (directory_create(ctx, "pictures") || file_write_whole(ctx, "pictures/data_batch_2.bin", "old", 3)) return 1;
    return (int)ingot_images_make(ctx, "pictures", 5, TRAIN, VAL); /* which removes the old one */
}

static int teardown(void **state)
{
    (void)state;
    directory_remove(ctx, "pictures");
    ingot_context_free(ctx);
    return 0;
}

static void test_files(void **state)
{
    (void)state;
    assert_int_equal(file_bytes("pictures/data_batch_1.bin"), TRAIN * 3073);
    assert_int_equal(file_bytes("pictures/test_batch.bin"), VAL * 3073);
    ingot_images *train, *val;
    assert_int_equal(ingot_images_open(ctx, "pictures", "train", &train), 0);
    assert_int_equal(ingot_images_open(ctx, "pictures", "val", &val), 0);
    assert_int_equal(ingot_images_count(train), TRAIN);
    assert_int_equal(ingot_images_count(val), VAL);
    float *pixels = malloc(TRAIN * 3072 * sizeof *pixels);
    int32_t labels[TRAIN];
    assert_int_equal(ingot_images_batch(val, &(ingot_image_order){0}, 3, 2, pixels, labels), 0);
    uint8_t record[IMAGE_RECORD_BYTES];
    shape_draw(5, TRAIN + 4, record);
    assert_int_equal(labels[1], record[0]);
    for (int i = 0; i < IMAGE_PIXELS; i++)
        for (int c = 0; c < 3; c++) /* NHWC from planes */
            assert_true(fabsf(pixels[3072 + 3 * i + c] - ((float)record[1 + c * 1024 + i] / 255 - .5f) / .25f) < 1e-6f);
    assert_int_not_equal(ingot_images_batch(val, &(ingot_image_order){0}, VAL - 1, 2, pixels, labels), 0);
    ingot_images_free(train);
    ingot_images_free(val);
    free(pixels);
}

/* Every epoch shows each picture once, in an order of its own. */
static void test_epochs(void **state)
{
    (void)state;
    ingot_images *images;
    assert_int_equal(ingot_images_open(ctx, "pictures", "train", &images), 0);
    float *pixels = malloc(TRAIN * 3072 * sizeof *pixels);
    int32_t labels[TRAIN], epochs[2][TRAIN];
    double sums[2] = {0};
    for (int e = 0; e < 2; e++) {
        assert_int_equal(
            ingot_images_batch(images, &(ingot_image_order){.shuffle = 1, .seed = 2}, e * TRAIN, TRAIN, pixels, labels),
            0);
        memcpy(epochs[e], labels, sizeof labels);
        for (int i = 0; i < TRAIN * 3072; i++) sums[e] += (double)pixels[i];
    }
    assert_true(fabs(sums[0] - sums[1]) < 1e-3);
    assert_memory_not_equal(epochs[0], epochs[1], sizeof labels);
    free(pixels);
    ingot_images_free(images);
}

static void test_drawing(void **state)
{
    (void)state;
    uint8_t one[IMAGE_RECORD_BYTES], two[IMAGE_RECORD_BYTES];
    int classes[IMAGE_CLASSES] = {0};
    for (uint64_t i = 0; i < 1000; i++) {
        shape_draw(1, i, one);
        classes[one[0]]++;
        int least = 255, most = 0; /* of the channel that differs most: the shape can be seen */
        for (int c = 0; c < 3; c++) {
            int low = 255, high = 0;
            for (int p = 0; p < IMAGE_PIXELS; p++)
                low = MIN(low, one[1 + c * 1024 + p]), high = MAX(high, one[1 + c * 1024 + p]);
            if (high - low > most - least) least = low, most = high;
        }
        assert_true(most - least > 60);
    }
    for (int c = 0; c < IMAGE_CLASSES; c++) assert_in_range(classes[c], 60, 140);
    shape_draw(1, 7, one);
    shape_draw(1, 7, two);
    assert_memory_equal(one, two, sizeof one);
    shape_draw(2, 7, two);
    assert_memory_not_equal(one, two, sizeof one);
}

static void test_refusals(void **state)
{
    (void)state;
    int64_t records;
    uint8_t bytes[2 * IMAGE_RECORD_BYTES] = {0};
    assert_int_equal(images_parse(ctx, "x", bytes, sizeof bytes, &records), 0);
    assert_int_equal(records, 2);
    assert_int_not_equal(images_parse(ctx, "x", bytes, sizeof bytes - 1, &records), 0);
    assert_int_not_equal(images_parse(ctx, "x", bytes, 0, &records), 0);
    bytes[IMAGE_RECORD_BYTES] = 10;
    assert_int_not_equal(images_parse(ctx, "x", bytes, sizeof bytes, &records), 0);
    assert_non_null(strstr(ingot_message(ctx), "record 1 has label 10"));
    ingot_images *images;
    assert_int_not_equal(ingot_images_open(ctx, "pictures", "test", &images), 0);
    assert_int_not_equal(ingot_images_open(ctx, ".", "train", &images), 0);
    assert_int_not_equal(ingot_images_make(ctx, "pictures", 1, 0, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_drawing),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
