/* Rungs naive and parallel in float64: the same loops. */
typedef double real;
#define MATMUL_F64
#define TABLE      matmul_naive_f64
#define NAME(rung) "matmul." rung ".f64"
#define MATCH      match_f64
#include "ops/matmul/matmul_naive.c"
