/* Packets between cards: data and the number of the exchange that it belongs to, in one access of 16 bytes. And what kernels
   exchange in them that have a card's part of a result: sums, or partial results of attention. Rests on the CUDA runtime.
   packets.cuh writes and reads them; comm/cuda has their memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

enum { PACKET_RANKS = 16 /* of a launch */, PACKET_BYTES = 8 /* of data */ };

typedef struct gather_packet {
    unsigned char data[PACKET_BYTES];
    uint64_t number; /* 0: never written */
} gather_packet;

/* One exchange, as one rank sees it. Memory of other cards is reached over the link between them. */
typedef struct packet_links {
    int32_t rank, n; /* n 0: nothing is exchanged */
    uint32_t index;  /* of the exchange in its pass, not 0; the pass makes a number of it that is used once */
    gather_packet *to[PACKET_RANKS]; /* memory of the packets sent to rank r's card, aligned to their size */
    const gather_packet *incoming;   /* of those sent to this one */
    const uint32_t *pass; /* on this card: the number of the pass, alike on all ranks */
    const uint32_t *stop; /* the host's: not 0 if no rank must wait any longer */
} packet_links;

/* Rank r's part of y[t, i] is in packet (r * rows + t) * width + i. */
typedef struct packet_sums {
    packet_links links;
    int32_t rows, width;
    float *y; /* [rows, width], row t at y + t * ldy: the parts are added, in the order of the ranks */
    int64_t ldy;
} packet_sums;

/* Pairs of numbers of queries, keys and values, rotated. Tiles of eight pairs are counted over all of them; rank r has
   [tiles[r], tiles[r + 1]). Pair i of tile k, of row t of n, is in packet (8 k + i) * n + t. */
typedef struct packet_heads {
    packet_links links;
    int32_t tiles[PACKET_RANKS + 1];
} packet_heads;

/* Partial results of attention, merged in the order of the ranks and finished. Rank r's packets begin at r * heads *
   (head_dim / 2 + 1): two numbers of O in each, head after head, then m and l of each head. */
typedef struct packet_carries {
    packet_links links;
    int32_t heads, n_heads, head_dim; /* of all rows; of a row; even */
    void *out;                        /* of the activation type, row t at out + t * ldo elements */
    int64_t ldo;
} packet_carries;
