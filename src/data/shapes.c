/* Pictures of ten shapes, drawn from a seed: colours, place, size, noise differ. See images.h. */
#include "data/images.h"
#include "base/rng.h"

#include <math.h>

const char *const shape_names[IMAGE_CLASSES] = {"circle", "square", "triangle", "diamond",         "plus",
                                                "cross",  "ring",   "frame",    "horizontal_bars", "vertical_bars"};

/* Whether (u, v) is inside the shape; the shape fills about [-1, 1] x [-1, 1], v grows downwards. */
static bool is_inside(int shape, float u, float v)
{
    float au = fabsf(u), av = fabsf(v), widest = fmaxf(au, av), radius = hypotf(u, v);
    switch (shape) {
    case 0: return radius < 1;
    case 1: return widest < .9f;
    case 2: return v < .8f && v > 2 * au - 1;
    case 3: return au + av < 1.15f;
    case 4: return widest < 1 && fminf(au, av) < .32f;
    case 5: return widest < 1 && fabsf(au - av) < .42f;
    case 6: return radius < 1 && radius > .55f;
    case 7: return widest < .95f && widest > .55f;
    case 8: return widest < 1 && (av < .22f || av > .62f);
    default: return widest < 1 && (au < .22f || au > .62f);
    }
}

typedef struct drawing {
    int shape;
    float x, y, radius;      /* in pixels */
    float front[3], back[3]; /* 0 .. 255 */
    float noise;             /* standard deviation */
} drawing;

/* Front and back differ by at least half the range in some channel: a person sees the shape too. */
static void pick_colours(rng *r, drawing *d)
{
    float difference;
    do {
        difference = 0;
        for (int c = 0; c < 3; c++) {
            d->front[c] = (float)rng_uniform(r) * 255;
            d->back[c] = (float)rng_uniform(r) * 255;
            difference = fmaxf(difference, fabsf(d->front[c] - d->back[c]));
        }
    } while (difference < 128);
}

/* The share of a pixel that the shape covers, by 4 x 4 points. */
static float coverage(const drawing *d, int x, int y)
{
    int inside = 0;
    for (int i = 0; i < 16; i++) {
        float u = ((float)x + ((float)(i % 4) + .5f) / 4 - d->x) / d->radius;
        float v = ((float)y + ((float)(i / 4) + .5f) / 4 - d->y) / d->radius;
        inside += is_inside(d->shape, u, v);
    }
    return (float)inside / 16;
}

void shape_draw(uint64_t seed, uint64_t index, uint8_t record[IMAGE_RECORD_BYTES])
{
    rng r = rng_make(seed, index);
    drawing d = {.shape = (int)rng_below(&r, IMAGE_CLASSES)};
    d.radius = 8 + 6 * (float)rng_uniform(&r);
    float room = IMAGE_SIDE - 2 * d.radius;
    d.x = d.radius + room * (float)rng_uniform(&r);
    d.y = d.radius + room * (float)rng_uniform(&r);
    d.noise = 8 * (float)rng_uniform(&r);
    pick_colours(&r, &d);
    record[0] = (uint8_t)d.shape;
    for (int y = 0; y < IMAGE_SIDE; y++)
        for (int x = 0; x < IMAGE_SIDE; x++) {
            float share = coverage(&d, x, y);
            for (int c = 0; c < 3; c++) {
                float value = d.back[c] + share * (d.front[c] - d.back[c]) + d.noise * (float)rng_normal(&r);
                record[1 + (c * IMAGE_SIDE + y) * IMAGE_SIDE + x] = (uint8_t)fminf(fmaxf(value + .5f, 0), 255);
            }
        }
}
