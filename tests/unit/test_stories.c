/* The story grammar: told and read with the same bits, unambiguous, its entropy exact, anything else refused. */
#include <math.h>

#include "tests.h"
#include "base/rng.h"
#include "data/stories.h"
#include "ingot/data.h"

enum { STORIES = 10000 };

static void test_told_is_read(void **state)
{
    (void)state;
    double sum = 0, squares = 0;
    int64_t bytes = 0;
    for (int i = 0; i < STORIES; i++) {
        char story[INGOT_STORY_BYTES];
        double told, read;
        int64_t length = ingot_story(11, (uint64_t)i, story, &told);
        assert_int_equal(length, strlen(story));
        assert_true(length < INGOT_STORY_BYTES / 2); /* far from being cut */
        assert_int_equal(story_derivations(story, length, &read), 1);
        assert_true(told == read);
        sum += told, squares += told * told, bytes += length;
    }
    double mean = sum / STORIES, deviation = sqrt(squares / STORIES - mean * mean);
    assert_true(fabs(mean - ingot_story_entropy()) < 4 * deviation / sqrt(STORIES));
    assert_true(sum / (double)bytes > .17 && sum / (double)bytes < .21); /* what a small model learns in two minutes */
}

static void test_same_seed_same_story(void **state)
{
    (void)state;
    char one[INGOT_STORY_BYTES], two[INGOT_STORY_BYTES], other[INGOT_STORY_BYTES];
    ingot_story(5, 7, one, NULL);
    ingot_story(5, 7, two, NULL);
    ingot_story(6, 7, other, NULL);
    assert_string_equal(one, two);
    assert_string_not_equal(one, other);
}

/* One byte changed, dropped or doubled: hardly ever a story again, and when it is one ("ball" to "bell") it has a price
 * of its own. */
static void test_mutants(void **state)
{
    (void)state;
    rng dice = rng_make(3, 0);
    int accepted = 0;
    for (int i = 0; i < STORIES; i++) {
        char story[INGOT_STORY_BYTES + 1];
        double bits;
        int64_t length = ingot_story(12, (uint64_t)i, story, NULL);
        int64_t at = (int64_t)rng_below(&dice, (uint32_t)length);
        if (i % 3 == 0) {
            story[at] ^= (char)(1 + rng_below(&dice, 127));
        } else if (i % 3 == 1) {
            memmove(story + at, story + at + 1, (size_t)(length-- - at));
        } else {
            memmove(story + at + 1, story + at, (size_t)(length++ - at));
        }
        int derivations = story_derivations(story, length, &bits);
        assert_true(derivations <= 1);
        assert_true(derivations ? isfinite(bits) : isinf(bits));
        accepted += derivations;
    }
    assert_true(accepted < STORIES / 500);
}

static void test_agreement_and_memory(void **state)
{
    (void)state;
    static const struct {
        int accepted;
        const char *text;
    } cases[] = {
        {1, "Anna lived near the river with her friend Ben. Anna had an old key. At last Anna and Ben were happy."},
        {0, "Anna lived near the river with his friend Ben. Anna had an old key. At last Anna and Ben were happy."},
        {0, "Anna lived near the river with her friend Ben. Anna had a old key. At last Anna and Ben were happy."},
        {0, "Anna lived near the river with her friend Anna. Anna had an old key. At last Anna and Anna were happy."},
        {0, "Anna lived near the river with her friend Ben. Anna had an old key. At last Anna and Tom were happy."},
        {0, "Anna lived near the river with her friend Ben. Anna had an old key. At last Anna and Ben were happy"},
        {0, "Anna lived near the river with her friend Ben. Anna had an old key."},
        {0, ""},
        {1,
         "Tom lived near the mill with his friend Zoe. Tom had a red cup. They ate soup. It was so good that Tom gave "
         "Zoe some soup to take home. Tom thanked Zoe and went home from the mill."},
        {0, "Tom lived near the mill with his friend Zoe. Tom had a red cup. They ate soup. They were so good that Tom "
            "gave "
            "Zoe some soup to take home. Tom thanked Zoe and went home from the mill."},
        {0, "Tom lived near the mill with his friend Zoe. Tom had a red cup. Tom went to the barn and brought the cup "
            "back."},
        {1, "Tom lived near the mill with his friend Zoe. Tom had a red cup. Zoe carried the cup to the barn. She left "
            "it at "
            "the barn. Tom went to the barn and brought the cup back."},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        double bits;
        assert_int_equal(ingot_story_accepts(cases[i].text, (int64_t)strlen(cases[i].text), &bits), cases[i].accepted);
    }
}

/* The chance of a whole story, by hand: 32 names, 32 places, 31 names, the "had" line, 32 looks, 48 things, no liking, no
 * happening, two of the endings tellable with weights 2 and 2, 16 feelings. */
static void test_bits_by_hand(void **state)
{
    (void)state;
    const char *story =
        "Anna lived near the river with her friend Ben. Anna had an old key. At last Anna and Ben were happy.";
    double bits;
    assert_true(ingot_story_accepts(story, (int64_t)strlen(story), &bits));
    assert_true(fabs(bits - (log2(32. * 32 * 31 * 32 * 48) - log2(.3) + 1 - log2(.4) + 1 + 4)) < 1e-9);
}

static void test_grammar_is_well_formed(void **state)
{
    (void)state;
    for (int r = 0; r < STORY_REGISTERS; r++) {
        const story_list *list = story_registers[r].list;
        for (int i = 0; i < list->count; i++) {
            assert_in_range(strlen(list->words[i].text), 1, 12);
            for (int j = 0; j < i; j++) assert_string_not_equal(list->words[i].text, list->words[j].text);
        }
    }
    for (int b = 0; b < story_beat_count; b++)
        for (int i = 0; i < story_beats[b].count; i++)
            for (const char *at = story_beats[b].lines[i].text; (at = strchr(at, '{')); at++) {
                const char *letter = at + 1 + (at[1] == '+');
                int known = 0;
                for (int r = 0; r < STORY_REGISTERS; r++) known += story_registers[r].letter == *letter;
                assert_int_equal(known, 1);
                assert_true(letter[1] == '}' || letter[1] == ':');
                assert_non_null(strchr(at, '}'));
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_is_read), cmocka_unit_test(test_same_seed_same_story),
        cmocka_unit_test(test_mutants),      cmocka_unit_test(test_agreement_and_memory),
        cmocka_unit_test(test_bits_by_hand), cmocka_unit_test(test_grammar_is_well_formed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
