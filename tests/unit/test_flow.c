/* Busy share, gaps and hidden copies of a trace that is known, and what is said where there is none. */
#include "context.h"
#include "bench/flow.h"

static const device_event known[] = {
    {"b", false, 1, 2000, 3000}, /* 1 us behind a */
    {"a", false, 1, 0, 1000},       {"beside", false, 2, 2500, 4000},
    {"in", true, 3, 3500, 5500}, /* 0.5 us of it beside a kernel, then 0.5 more */
    {"last", false, 1, 5000, 6000},
};

static bool tracing, refuses;
static int steps, drains;

static status fake_trace(device *d, device_trace *out)
{
    if (refuses) return ingot_fail(d->ctx, INGOT_ERROR_UNSUPPORTED, "nothing to trace with");
    tracing = !out;
    for (size_t i = 0; out && i < COUNT(known); i++) assert_true(ARRAY_PUSH(&out->events, known[i]));
    return INGOT_OK;
}

static status one_step(void *user)
{
    device *d = user;
    device_count(&d->counts.submissions, 1);
    device_count(&d->counts.launches, 7);
    steps++;
    return INGOT_OK;
}

static status drain(void *user)
{
    (void)user;
    drains++;
    return INGOT_OK;
}

static void test_known_trace(void **state)
{
    (void)state;
    ingot_device *d;
    text events = {0};
    OK(ingot_device_open(ctx, "cpu", NULL, &d));
    const device_def *cpu = d->def;
    device_def traced = *cpu;
    traced.trace = fake_trace;
    d->def = &traced;
    const flow_subject x = {one_step, drain, d, 2};
    for (int turn = 0; turn < 2; turn++) {
        profile_flow f;
        refuses = turn == 1;
        steps = drains = 0;
        OK(flow_measure(d, 8, &x, &f, &events));
        assert_int_equal(f.runs, 8);
        assert_true(f.submissions == 1 && f.launches == 7 && f.waits == 0 && drains > 0 && !tracing);
        assert_int_equal(f.traced, !refuses);
        if (refuses) {
            assert_string_equal(f.why, "nothing to trace with");
            continue;
        }
        assert_true(f.busy > 4.0 / 6 - 1e-9 && f.busy < 4.0 / 6 + 1e-9); /* [0, 1], [2, 4], [5, 6] of 6 us */
        assert_true(f.gaps > 0.19 && f.gaps < 0.21);                     /* two in 8 + 2 runs */
        assert_true(f.longest_gap_us > 0.999 && f.longest_gap_us < 1.001);
        assert_string_equal(f.before, "a");
        assert_string_equal(f.after, "b");
        assert_true(f.copies_ms > 1.99e-4 && f.copies_ms < 2.01e-4);
        assert_true(f.hidden_ms > 0.99e-4 && f.hidden_ms < 1.01e-4);
        assert_non_null(strstr(events.at, "\"name\": \"in\", \"cat\": \"copy\""));
    }
    text_free(&events);
    d->def = cpu;
    ingot_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_trace)};
    return cmocka_run_group_tests(tests, context_open, context_close);
}
