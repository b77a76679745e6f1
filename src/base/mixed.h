/* A number of 64 bits that stands for a sequence of numbers: keys and classes, which are the same only where all numbers are.
   Rests on nothing. Used by model/transformer.c and device/cuda/attention/cuda_attention.c. */
#pragma once

#include <stdint.h>

/* The number of a sequence that goes on with x: xor, then a multiply and xor-shifts (of splitmix64). */
static inline uint64_t mixed(uint64_t number, uint64_t x)
{
    number = (number ^ x) * 0x9E3779B97F4A7C15u;
    number = (number ^ number >> 29) * 0xBF58476D1CE4E5B9u;
    return number ^ number >> 32;
}
