#include "asynchronous.h"

#include "late.h"
#include "tensor_map.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace simt
{

void misuse(const char *what)
{
    const place &p = here();
    fprintf(stderr, "simt: block %u,%u,%u, thread %u,%u,%u: %s\n", p.block.x, p.block.y, p.block.z, p.thread.x,
            p.thread.y, p.thread.z, what);
    abort();
}

static void must(bool holds, const char *what)
{
    if (!holds) misuse(what);
}

static void poison(void *at, size_t bytes)
{
    memset(at, 0xff, bytes);
}

static bool aligned(const void *p, unsigned to)
{
    return (uintptr_t)p % to == 0;
}

unsigned shared_offset(const void *p)
{
    auto offset = (uintptr_t)p - (uintptr_t)dynamic_shared();
    must(offset < SHARED_BYTES, "the address of what is not in dynamic shared memory");
    return (unsigned)offset;
}

void *shared_place(unsigned offset)
{
    must(offset < SHARED_BYTES, "an address beyond shared memory");
    return (char *)dynamic_shared() + offset;
}

void look_again(const void *at)
{
    static thread_local const void *last;
    if (last == at) pause();
    last = at;
}

// ---- cp.async ----

namespace
{

struct copy {
    void *to;
    const void *from; // null: what it is
    size_t size;
    unsigned char bytes[16];
};
struct copies : groups<copy> {
};

} // namespace

void copy_late(void *to, const void *from, bool valid, unsigned size)
{
    must(aligned(to, size) && (!valid || aligned(from, size)), "cp.async is not at a multiple of its size");
    poison(to, size);
    copy c = {to, valid ? from : nullptr, size, {}};
    if (valid && grids_ahead()) memcpy(c.bytes, from, size), c.from = nullptr; // as it is before they have ended
    of_thread<copies>().add(c);
}

void copies_commit()
{
    of_thread<copies>().commit();
}

void copies_wait(int left)
{
    for (const copy &c : of_thread<copies>().take((size_t)left)) memcpy(c.to, c.from ? c.from : c.bytes, c.size);
}

// ---- barriers in shared memory ----

namespace
{

// The word: arrivals of a phase, those that are missing, bytes that are missing (from 2^30 on, since they may come before they
// are expected), the phase.
struct barrier_word {
    uint64_t arrivals : 16, missing : 16, bytes : 31, phase : 1;
};
static_assert(sizeof(barrier_word) == 8);
enum { NO_BYTES = 1 << 30 };

barrier_word load_word(const uint64_t *barrier)
{
    barrier_word b;
    must(aligned(barrier, 8), "a barrier is not at a multiple of 8 bytes");
    memcpy(&b, barrier, sizeof b);
    return b;
}

void store_word(uint64_t *barrier, barrier_word b)
{
    if (!b.missing && b.bytes == NO_BYTES) b.missing = b.arrivals, b.phase ^= 1;
    memcpy(barrier, &b, sizeof b);
}

// A load of the copy engine, and whom it tells.
struct load {
    uint64_t *barrier;
    void *to;
    const void *from; // plain bytes, or
    tensor_map map;   // a box
    box_place place;
    unsigned bytes;
};
struct loads : std::vector<load> {
};

void do_loads(uint64_t *barrier)
{
    loads &all = of_block<loads>();
    for (size_t i = 0; i < all.size();) {
        load l = all[i];
        if (l.barrier != barrier) {
            i++;
            continue;
        }
        all.erase(all.begin() + (std::ptrdiff_t)i);
        if (l.from)
            memcpy(l.to, l.from, l.bytes);
        else
            read_box(l.map, l.to, l.place);
        barrier_word b = load_word(barrier);
        b.bytes -= l.bytes;
        store_word(barrier, b);
    }
}

} // namespace

void barrier_begin(uint64_t *barrier, int arrivals)
{
    must(arrivals > 0 && arrivals < 1 << 16, "a barrier of no arrivals, or too many");
    store_word(barrier, {(uint64_t)arrivals, (uint64_t)arrivals, NO_BYTES, 0});
}

void barrier_arrive(uint64_t *barrier, int bytes)
{
    barrier_word b = load_word(barrier);
    must(b.missing > 0 && b.missing <= b.arrivals, "an arrival too many, or at what is no barrier");
    b.bytes += (unsigned)bytes;
    b.missing--;
    store_word(barrier, b);
}

bool barrier_passed(uint64_t *barrier, unsigned parity)
{
    if (load_word(barrier).phase != (parity & 1)) return true;
    do_loads(barrier);
    if (load_word(barrier).phase != (parity & 1)) return true;
    pause();
    return false;
}

// ---- the copy engine ----

namespace
{

struct store {
    void *to; // plain bytes, or
    tensor_map map;
    box_place place;
    const void *from;
    unsigned bytes;
    bool adds;
};
struct stores : groups<store> {
};

void do_store(const store &s)
{
    if (!s.to) {
        write_box(s.map, s.from, s.place);
    } else if (s.adds) {
        for (unsigned i = 0; i < s.bytes / 4; i++) ((float *)s.to)[i] += ((const float *)s.from)[i];
    } else {
        memcpy(s.to, s.from, s.bytes);
    }
}

unsigned bytes_of_copy(const void *a, const void *b, int bytes)
{
    must(aligned(a, 16) && aligned(b, 16) && bytes > 0 && bytes % 16 == 0,
         "a bulk copy that is no multiple of 16 bytes");
    return (unsigned)bytes;
}

} // namespace

void load_box(void *to, const CUtensorMap *map, uint64_t *barrier, box_place place)
{
    tensor_map m = map_of(map);
    must(aligned(to, 128), "a box is not at a multiple of 128 bytes");
    poison(to, box_bytes(m));
    of_block<loads>().push_back({barrier, to, nullptr, m, place, box_bytes(m)});
    if (grids_ahead()) do_loads(barrier); // as it is before they have ended
}

void load_bytes(void *to, const void *from, int bytes, uint64_t *barrier)
{
    unsigned count = bytes_of_copy(to, from, bytes);
    poison(to, count);
    of_block<loads>().push_back({barrier, to, from, {}, {}, count});
    if (grids_ahead()) do_loads(barrier);
}

void store_box(const CUtensorMap *map, const void *from, box_place place)
{
    must(aligned(from, 128), "a box is not at a multiple of 128 bytes");
    of_thread<stores>().add({nullptr, map_of(map), place, from, 0, false});
}

void store_bytes(void *to, const void *from, int bytes)
{
    of_thread<stores>().add({to, {}, {}, from, bytes_of_copy(to, from, bytes), false});
}

void add_bytes(float *to, const float *from, int bytes)
{
    of_thread<stores>().add({to, {}, {}, from, bytes_of_copy(to, from, bytes), true});
}

void stores_commit()
{
    of_thread<stores>().commit();
}

void stores_wait()
{
    for (const store &s : of_thread<stores>().take(0)) do_store(s);
}

} // namespace simt
