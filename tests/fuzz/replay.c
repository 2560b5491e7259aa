/* Runs a fuzz target over the files named on the command line: how a finding is repeated, and how gcc builds check the
 * committed corpus. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) return perror(argv[i]), 1;
        uint8_t *bytes = malloc(1 << 20), *exact;
        size_t count = bytes ? fread(bytes, 1, 1 << 20, file) : 0;
        fclose(file);
        if (!bytes || !(exact = realloc(bytes, count + !count))) return 1; /* so that a sanitizer sees a byte too far */
        LLVMFuzzerTestOneInput(exact, count);
        free(exact);
    }
    return 0;
}
