// Partial results of attention (device.h), merged number by number: the same bits wherever that is done.
#pragma once

// Of a head: m and l of the merged result, and what numbers of both sides are multiplied with.
struct carried_weights {
    float m, l, mine, theirs;
    bool keeps, copies; // the one side as it is, or the other
};

// The side with the larger maximum stays as it is, the other shrinks to its scale.
static __device__ __forceinline__ carried_weights weights_of(float into_m, float into_l, float from_m, float from_l)
{
    const bool keeps = from_l == 0, copies = into_l == 0, grows = copies || from_m > into_m;
    const float mine = grows && !copies ? expf(into_m - from_m) : 1, theirs = grows ? 1 : expf(from_m - into_m);

    return {keeps || !grows ? into_m : from_m, keeps ? into_l : copies ? from_l : into_l * mine + from_l * theirs, mine, theirs,
            keeps, copies};
}

static __device__ __forceinline__ float merged_number(const carried_weights &w, float into, float from)
{
    return w.keeps ? into : w.copies ? from : into * w.mine + from * w.theirs;
}

// m, l and one number of o of a head.
struct carried {
    float m, l, o;
};

static __device__ __forceinline__ carried merged(carried into, carried from)
{
    const carried_weights w = weights_of(into.m, into.l, from.m, from.l);

    return {w.m, w.l, merged_number(w, into.o, from.o)};
}
