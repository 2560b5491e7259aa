/* The peak of tiles: six products that wait for nobody, from two tiles that stay where they are. */
#include "kit/cpu/peak.h"

#if defined(__AMX_BF16__)
#include <immintrin.h>
#include <stdint.h>

enum { CHAINS = 6, TILE_ROWS = 16, TILE_ROW_BYTES = 64 };

double peak_run_amx(long rounds)
{
    struct {
        uint8_t palette, start, zero[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } sizes = {.palette = 1};
    for (int i = 0; i < 8; i++) sizes.bytes[i] = TILE_ROW_BYTES, sizes.rows[i] = TILE_ROWS;
    static const uint16_t ones[TILE_ROWS * TILE_ROW_BYTES / 2] = {0x3f80}; /* one 1 and zeros */
    float sums[TILE_ROWS * TILE_ROW_BYTES / 4];
    _tile_loadconfig(&sizes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_loadd(6, ones, TILE_ROW_BYTES);
    _tile_loadd(7, ones, TILE_ROW_BYTES);
    for (long r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 6, 7);
        _tile_dpbf16ps(1, 6, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_dpbf16ps(3, 6, 7);
        _tile_dpbf16ps(4, 6, 7);
        _tile_dpbf16ps(5, 6, 7);
    }
    _tile_stored(0, sums, TILE_ROW_BYTES);
    _tile_release();
    return (double)sums[0];
}

double peak_flops_amx(void)
{
    return 2.0 * CHAINS * TILE_ROWS * (TILE_ROW_BYTES / 4) * (TILE_ROW_BYTES / 2);
}
#else
double peak_run_amx(long rounds)
{
    return (double)rounds;
}

double peak_flops_amx(void)
{
    return 0;
}
#endif
