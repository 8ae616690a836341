/*
 * hash.h -- digests. XXH3-128 for data (fast, not cryptographic), SHA-256 for texts that others publish
 * the SHA-256 of (chat templates).
 */
#ifndef MOE_BASE_HASH_H
#define MOE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HASH_DATA  16 /* digits of a corpus's digest that are of its bytes alone */
#define HASH_HEX   33 /* XXH3-128: 32 lower-case hex digits and a NUL, most significant first */
#define SHA256_HEX 65

/* Streaming XXH3-128. hash_new/hash_free pair; hash_hex may be called at any time and does not reset. */
struct hash;
struct hash *hash_new(struct err *e);
void hash_add(struct hash *h, const void *bytes, size_t n);
void hash_hex(const struct hash *h, char out[HASH_HEX]);
void hash_free(struct hash *h);
void hash_once(const void *bytes, size_t n, char out[HASH_HEX]);

/* The output of splitmix64 (Steele, Lea and Flood 2014) after state x; the state that follows is x + the
 * step. A good mixer of 64 bits, too. */
#define SPLITMIX64_STEP UINT64_C(0x9e3779b97f4a7c15)
uint64_t splitmix64(uint64_t x);

/* FIPS 180-4. */
void sha256_hex(const void *bytes, size_t n, char out[SHA256_HEX]);

#endif
