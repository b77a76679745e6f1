// Partial results of attention (device.h), merged number by number: the same bits wherever that is done.
#pragma once

// m, l and one number of o of a head.
struct carried {
    float m, l, o;
};

static __device__ __forceinline__ carried merged(carried into, carried from)
{
    if (from.l == 0) {
        return into;
    }
    // The side with the larger maximum stays as it is, the other shrinks to its scale.
    bool copies = into.l == 0, grows = copies || from.m > into.m;
    float mine = grows && !copies ? expf(into.m - from.m) : 1, theirs = grows ? 1 : expf(from.m - into.m);

    return {grows ? from.m : into.m, copies ? from.l : into.l * mine + from.l * theirs,
            copies ? from.o : into.o * mine + from.o * theirs};
}
