/* Rungs tiled and tiled-parallel in float64: the same loops, blocks of as many bytes. */
typedef double real;
#define MATMUL_F64
#define TABLE      matmul_tiled_f64
#define NAME(rung) "matmul." rung ".f64"
#define MATCH      match_f64
enum { BLOCK = 32 }; /* three blocks of 32 x 32 float64 are 24 KB */
#include "ops/matmul/matmul_tiled.c"
