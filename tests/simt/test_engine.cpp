// The machine that kernels run on for tests, by kernels whose results are known.
#include "device.h"

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

static int failures;

static void expect(bool holds, const char *what)
{
    printf("%s: %s\n", holds ? "ok" : "FAILED", what);
    failures += !holds;
}

// Each thread turns a block's values around and adds up those of its warp.
static void turn_and_sum(int *out)
{
    int *values = static_cast<int *>(simt::dynamic_shared()), t = (int)threadIdx.x;
    values[t] = t;
    __syncthreads();
    int v = values[255 - t];
    for (int offset = 16; offset; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
    out[blockIdx.x * 256 + threadIdx.x] = v;
}

static bool sums_are_right()
{
    std::vector<int> out(64 * 256, -1);
    simt::run({{64}, {256}, 1024, "turn_and_sum"}, [&] { turn_and_sum(out.data()); });
    for (int i = 0; i < (int)out.size(); i++) {
        int warp = 7 - i % 256 / 32;
        if (out[(size_t)i] != 32 * 32 * warp + 31 * 16) return false;
    }
    return true;
}

static bool every_thread_ran_once()
{
    std::vector<int> times(3 * 4 * 5 * 6 * 7);
    simt::run({{3, 4}, {5, 6, 7}, 0, "count"}, [&] {
        size_t block = blockIdx.y * 3 + blockIdx.x;
        times[block * 210 + simt::here().index()]++;
    });
    for (int n : times)
        if (n != 1) return false;
    return true;
}

// Blocks that wait for each other are there at once.
static bool blocks_meet()
{
    std::vector<int> there(simt::MULTIPROCESSORS), seen(simt::MULTIPROCESSORS);
    simt::run({{simt::MULTIPROCESSORS}, {64}, 0, "meet"}, [&] {
        unsigned next = (blockIdx.x + 1) % simt::MULTIPROCESSORS;
        if (threadIdx.x == 0) {
            __atomic_store_n(&there[blockIdx.x], 1, __ATOMIC_RELEASE);
            while (!__atomic_load_n(&there[next], __ATOMIC_ACQUIRE)) simt::pause();
        }
        __syncthreads();
        if (threadIdx.x == 63) seen[blockIdx.x] = there[next];
    });
    for (int s : seen)
        if (!s) return false;
    return true;
}

// Half of the warps fill what the other half takes, by two barriers of their own.
static bool barriers_with_numbers()
{
    std::vector<int> out(32);
    simt::run({{1}, {64}, 256, "hand over"}, [&] {
        int *box = static_cast<int *>(simt::dynamic_shared());
        for (int turn = 0; turn < 10; turn++) {
            if (threadIdx.x < 32) {
                box[threadIdx.x] = turn * 100 + (int)threadIdx.x;
                simt::meet(1, 64, false);
                simt::meet(2, 64, true);
            } else {
                simt::meet(1, 64, true);
                out[threadIdx.x - 32] += box[threadIdx.x - 32];
                simt::meet(2, 64, false);
            }
        }
    });
    for (int i = 0; i < 32; i++)
        if (out[(size_t)i] != 4500 + 10 * i) return false;
    return true;
}

static bool threads_that_leave_are_not_waited_for()
{
    int sum = 0;
    simt::run({{1}, {96}, 0, "leave"}, [&] {
        if (threadIdx.x >= 80) return;
        __syncthreads();
        unsigned there = __ballot_sync(threadIdx.x < 64 ? 0xffffffffu : 0xffffu, 1);
        if (threadIdx.x % 32 == 0) __atomic_fetch_add(&sum, __popc(there), __ATOMIC_RELAXED);
    });
    return sum == 80;
}

// Ends by a signal, with a message.
static bool is_refused(void (*kernel)())
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(1);
        kernel();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status);
}

int main()
{
    bool waits_apart = is_refused([] {
        simt::run({{1}, {64}, 0, "apart"}, [] {
            if (threadIdx.x < 32)
                __syncthreads();
            else
                simt::meet(1, 64, true);
        });
    });
    bool split_warp = is_refused([] {
        simt::run({{1}, {32}, 0, "split"}, [] {
            if (threadIdx.x < 16)
                __syncwarp();
            else
                __ballot_sync(0xffffffffu, 1);
        });
    });
    expect(waits_apart, "a block whose threads wait at different barriers stops");
    expect(split_warp, "a warp whose lanes do different things together stops");
    expect(sums_are_right(), "shared memory and shuffles");
    expect(every_thread_ran_once(), "every thread of a grid runs once");
    expect(blocks_meet(), "as many blocks as multiprocessors run at once");
    expect(barriers_with_numbers(), "barriers with numbers");
    expect(threads_that_leave_are_not_waited_for(), "threads that have left");
    return failures != 0;
}
